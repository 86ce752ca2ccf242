package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/newfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

func (a *app) cipher() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "cipher COMMAND",
		Short: "Encrypt and decrypt with a key that never leaves Nexus",
		Long: `Encrypt and decrypt with a key that never leaves Nexus (AES-256-GCM). Nexus keeps
neither the plaintext nor the ciphertext.

It is for small things: a ciphertext has at most 65536 bytes with its tag of 16,
unless SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE is set otherwise at Nexus. To encrypt
more, encrypt it with a key of its own, and the key with this.

It needs the role superuser or lite, or a policy with the permission execute at
spike/system/cipher/exec.`,
	})
	cmd.AddCommand(
		a.cipherCommand(&direction{
			verb: "encrypt", done: "encrypted", stream: (*session).EncryptStream, json: (*session).encryptJSON, binary: true,
		}, &cobra.Command{
			Use:   "encrypt",
			Short: "Encrypt a file or standard input",
			Long: `Encrypt a file or standard input. The ciphertext is bytes: one for the version, 12
of the nonce, then the ciphertext and its tag.

With --json it is an object: version, a number; nonce and ciphertext, base64.` + cipherFileHelp,
			Example: `  spike cipher encrypt --in token.txt --out token.enc
  pg_dumpall --roles-only | spike cipher encrypt > roles.enc
  spike cipher encrypt --in token.txt --json`,
		}),
		a.cipherCommand(&direction{
			verb: "decrypt", done: "decrypted", stream: (*session).DecryptStream, json: (*session).decryptJSON,
		}, &cobra.Command{
			Use:   "decrypt",
			Short: "Decrypt what encrypt has written",
			Long: `Decrypt what "spike cipher encrypt" has written; with --json what it has written with
--json. The plaintext is written byte for byte.` + cipherFileHelp,
			Example: `  spike cipher decrypt --in token.enc
  spike cipher decrypt --in token.json --json --out token.txt`,
		}),
	)
	return cmd
}

const cipherFileHelp = `

A file that is named with --out is there whole or not at all, for its owner alone
(mode 0600). An older one is not replaced without --force.`

// direction is one of the two.
type direction struct {
	verb, done string
	stream     func(*session, context.Context, []byte) ([]byte, error)
	json       func(*session, context.Context, []byte) ([]byte, error)
	binary     bool // what the stream form writes is for no terminal
}

// cipherOptions is what the flags say.
type cipherOptions struct {
	in, out     string
	json, force bool
}

func (a *app) cipherCommand(d *direction, cmd *cobra.Command) *cobra.Command {
	var opt cipherOptions
	cmd.Args = none()
	flags := cmd.Flags()
	flags.StringVar(&opt.in, "in", "-", "read `FILE`; - is standard input")
	flags.StringVar(&opt.out, "out", "-", "write `FILE`; - is standard output")
	flags.BoolVar(&opt.json, "json", false, "JSON and base64 instead of bytes")
	flags.BoolVar(&opt.force, "force", false, "replace the file of --out if it is there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.runCipher(cmd, d, &opt) }
	return cmd
}

// runCipher has a place for the output and all of the input before Nexus is asked.
func (a *app) runCipher(cmd *cobra.Command, d *direction, opt *cipherOptions) (err error) {
	ctx, nothing := cmd.Context(), "Nothing was "+d.done+"."
	if opt.out == "-" && d.binary && !opt.json && terminal.Is(a.Out) {
		return usage(cmd, "What is written is bytes, which are not for a terminal: name a file with --out, or use --json.")
	}
	var file *newfile.File
	if opt.out != "-" {
		path, err := filepath.Abs(opt.out)
		if err != nil {
			return fileTrouble(nothing, err)
		}
		if file, err = newfile.Create(path, opt.force); err != nil {
			return fileTrouble(nothing, err)
		}
	}
	defer func() {
		if file == nil {
			return
		}
		if aborted := file.Abort(); aborted != nil && err == nil {
			err = fileTrouble(nothing, aborted)
		}
	}()
	input, err := a.cipherInput(ctx, opt.in)
	defer clear(input)
	switch {
	case errors.Is(err, context.Canceled):
		return interrupted(err)
	case err != nil:
		return fileTrouble(nothing, err)
	case len(input) > api.MaxBody:
		return tooLarge(nothing, len(input))
	case len(input) == 0 && !(opt.json && d.binary):
		return usage(cmd, "There is nothing to %s: the input is empty.", d.verb)
	}
	work := d.stream
	if opt.json {
		work = d.json
	}
	s, err := a.connect(ctx, role.Superuser, true)
	if err != nil {
		return err
	}
	defer s.Close()
	output, err := work(s, ctx, input)
	defer clear(output)
	if err != nil {
		return s.explainCipher(ctx, d, len(input), err)
	}
	if file == nil {
		return a.print(func(w io.Writer) error {
			_, err := w.Write(output)
			return err
		})
	}
	if _, err = file.Write(output); err == nil {
		err = file.Commit()
	}
	if err != nil {
		return fileTrouble(nothing, err)
	}
	return nil
}

// cipherInput reads all of the input, and no more than what is certainly too much.
func (a *app) cipherInput(ctx context.Context, name string) ([]byte, error) {
	from := terminal.Reader(ctx, a.In)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		// It is only read, so that nothing can go wrong here.
		defer func() { _ = file.Close() }()
		from = file
	}
	return io.ReadAll(io.LimitReader(from, api.MaxBody+1))
}

// encrypted is the JSON form of a ciphertext.
type encrypted struct {
	Version    int    `json:"version"`
	Nonce      []byte `json:"nonce"`
	Ciphertext []byte `json:"ciphertext"`
}

func (s *session) encryptJSON(ctx context.Context, plaintext []byte) ([]byte, error) {
	res, err := s.Encrypt(ctx, plaintext)
	if err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(encrypted{res.Version, res.Nonce, res.Ciphertext}, "", "  ")
	return append(out, '\n'), err
}

var errNotEncrypted = errors.New("the input is not what encrypt --json writes")

func (s *session) decryptJSON(ctx context.Context, input []byte) ([]byte, error) {
	var in encrypted
	// The cause is left out, since it may repeat a part of the input.
	if err := json.Unmarshal(input, &in); err != nil || len(in.Nonce) == 0 || len(in.Ciphertext) == 0 {
		return nil, errNotEncrypted
	}
	return s.Decrypt(ctx, api.CipherDecryptRequest{Version: in.Version, Nonce: in.Nonce, Ciphertext: in.Ciphertext})
}

// limitHelp is where the limit comes from. Nexus does not tell it.
const limitHelp = "a ciphertext has at most 65536 bytes with its tag of 16, unless Nexus has another SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE"

func tooLarge(nothing string, size int) error {
	return &Failure{
		Code: Usage, What: nothing, Why: fmt.Sprintf("The input is too large (more than %d bytes): %s.", size-1, limitHelp),
		Next: []string{"Encrypt it with a key of its own, and that key with this. Nothing was sent."},
	}
}

// explainCipher says what a refusal can mean. Nexus says no more than that it is
// one: whoever tries ciphertexts learns nothing.
func (s *session) explainCipher(ctx context.Context, d *direction, size int, err error) error {
	nothing := "Nothing was " + d.done + "."
	if errors.Is(err, errNotEncrypted) {
		return &Failure{Code: Usage, What: nothing, Why: render.Sentence(err.Error()), Err: err,
			Next: []string{"For what encrypt writes without --json, leave --json out. Nothing was sent."}}
	}
	explained := s.explain(ctx, nothing, err)
	var f *Failure
	if !errors.As(explained, &f) || !errors.Is(err, api.ErrBadRequest) {
		return explained
	}
	f.Next = nil
	if d.binary {
		f.Why = fmt.Sprintf("Nexus did not take these %s. It is probably too large: %s.", render.Count(size, "byte"), limitHelp)
		f.Next = []string{"Encrypt it with a key of its own, and that key with this."}
		return f
	}
	f.Why = fmt.Sprintf("Nexus did not take these %s: it was changed, was cut off, was encrypted by another cluster, or is too large.", render.Count(size, "byte"))
	f.Next = []string{"If it begins with {, it was written with --json: use --json here, too."}
	return f
}
