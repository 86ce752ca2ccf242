package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/spiffe/spike/app/pilot/internal/infile"
	"github.com/spiffe/spike/app/pilot/internal/newfile"
	"github.com/spiffe/spike/app/pilot/internal/render"
	"github.com/spiffe/spike/app/pilot/internal/terminal"
	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/role"
)

// cipher has two commands that are one, in two directions.
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
			verb: "encrypt", done: "encrypted", stream: (*session).EncryptStream, json: (*session).encryptJSON, encrypts: true,
		}, &cobra.Command{
			Use:   "encrypt [--in FILE] [--out FILE]",
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
			Use:   "decrypt [--in FILE] [--out FILE]",
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
	encrypts   bool // what decides the form of what comes in and goes out
}

// cipherOptions is what the flags say.
type cipherOptions struct {
	in, out     string
	json, force bool
}

// cipherCommand adds what both have in common. Neither takes an argument: a plaintext
// would be seen in the list of processes.
func (a *app) cipherCommand(d *direction, cmd *cobra.Command) *cobra.Command {
	var opt cipherOptions
	cmd.Args, cmd.ValidArgsFunction = none(), cobra.NoFileCompletions
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
	// Bytes could steer the terminal. A plaintext goes there as secret get's does.
	if opt.out == "-" && d.encrypts && !opt.json && terminal.Is(a.Out) {
		return usage(cmd, "What is written is bytes, which are not for a terminal: name a file with --out, or use --json.")
	}
	var file *newfile.File
	if opt.out != "-" {
		path, err := filepath.Abs(opt.out)
		if err != nil {
			return fileTrouble(nothing, err)
		}
		if err := a.warnParts(path); err != nil {
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
	if err != nil {
		return badInput(nothing, opt, err)
	}
	if f := unfit(d, opt, input); f != nil {
		f.What = nothing
		return f
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
	s.asks("execute", "")
	// All of the answer is here before any of it is written.
	output, err := work(s, ctx, input)
	defer clear(output)
	if err != nil {
		return s.explainCipher(ctx, d, opt, len(input), err)
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
		return uncommitted(nothing, "The file was written", opt.out, err)
	}
	return nil
}

// cipherInput reads all of the input, and no more than what is certainly too much.
func (a *app) cipherInput(ctx context.Context, name string) ([]byte, error) {
	from := terminal.Reader(ctx, a.In)
	if name != "-" {
		file, err := infile.Open(name)
		if err != nil {
			return nil, fmt.Errorf("the file of --in: %w", err)
		}
		// It is only read, so that nothing can go wrong here.
		defer func() { _ = file.Close() }()
		from = file
	}
	return io.ReadAll(io.LimitReader(from, api.MaxBody+1))
}

// badInput is for input that could not be read.
func badInput(nothing string, opt *cipherOptions, err error) error {
	if errors.Is(err, context.Canceled) {
		return interrupted(err)
	}
	f := &Failure{Code: Failed, What: nothing, Why: render.Sentence(err.Error()), Err: err}
	if opt.in != "-" {
		f.Code = Usage
		f.Next = []string{"--in takes a file's name (or - for standard input), and not the text itself. Nothing was sent."}
	}
	return f
}

// What a ciphertext has, and what it may have: usually, and at any Nexus.
const (
	streamExtra      = 1 + api.CipherNonce + api.CipherTag
	usualCiphertext  = 64 << 10
	largestPlaintext = 4<<20 - api.CipherTag
)

// unfit says why input need not be sent; nil where it is for Nexus to decide.
func unfit(d *direction, opt *cipherOptions, input []byte) *Failure {
	f := &Failure{Code: Usage, Next: []string{"Nothing was sent."}}
	// No Nexus takes more than this, so its answer is known.
	longest := largestPlaintext
	switch {
	case !d.encrypts && opt.json:
		longest = api.MaxBody // base64, which is taken apart before it is sent
	case !d.encrypts:
		longest += streamExtra
	}
	switch {
	case len(input) > longest:
		f.Why = fmt.Sprintf("The input is too large: it has more than %d bytes. %s", longest, limitHelp)
		f.Next = []string{keyOfItsOwn + " Nothing was sent."}
	case len(input) == 0 && d.encrypts && opt.json:
		return nil
	case len(input) == 0:
		f.Why = fmt.Sprintf("There is nothing to %s: the input is empty.", d.verb)
		if d.encrypts {
			f.Next = []string{"If it is meant to be empty: --json. Nothing was sent."}
		}
	case d.encrypts, opt.json:
		return nil
	case bytes.HasPrefix(bytes.TrimSpace(input), []byte("{")):
		f.Why = "The input is no bytes that encrypt has written. It looks as if it was written with --json."
		f.Next = []string{"Then use --json here, too. Nothing was sent."}
	case input[0] != api.CipherVersion:
		f.Why = fmt.Sprintf("The input is not what encrypt writes, which begins with a byte %d.", api.CipherVersion)
	case len(input) < streamExtra:
		f.Why = fmt.Sprintf("The input was cut off: it has %s, and what encrypt writes has %d or more.", render.Count(len(input), "byte"), streamExtra)
	default:
		return nil
	}
	return f
}

// encrypted is the JSON form of a ciphertext.
type encrypted struct {
	Version    int    `json:"version"`
	Nonce      []byte `json:"nonce"`
	Ciphertext []byte `json:"ciphertext"`
}

// encryptJSON writes a text file: indented, and with a newline at its end.
func (s *session) encryptJSON(ctx context.Context, plaintext []byte) ([]byte, error) {
	res, err := s.Encrypt(ctx, plaintext)
	if err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(encrypted{res.Version, res.Nonce, res.Ciphertext}, "", "  ")
	return append(out, '\n'), err
}

var errNotEncrypted = errors.New("the input is not what encrypt --json writes")

// decryptJSON takes more than encryptJSON writes: any order, any spaces, other keys.
func (s *session) decryptJSON(ctx context.Context, input []byte) ([]byte, error) {
	var in encrypted
	// The cause is left out, since it may repeat a part of the input.
	if err := json.Unmarshal(input, &in); err != nil || len(in.Nonce) != api.CipherNonce || len(in.Ciphertext) < api.CipherTag {
		return nil, errNotEncrypted
	}
	return s.Decrypt(ctx, api.CipherDecryptRequest{Version: in.Version, Nonce: in.Nonce, Ciphertext: in.Ciphertext})
}

// limitHelp is where the limit comes from. Nexus does not tell it.
const limitHelp = "A plaintext has at most 65520 bytes (a ciphertext 65536, with its tag of 16), unless " +
	"SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE is set otherwise at Nexus."

// keyOfItsOwn is the way for what is large, as every such service has it.
const keyOfItsOwn = "Encrypt it with a key of its own, and that key with this."

// explainCipher says what a refusal can mean. Nexus says no more than that it is
// one: whoever tries ciphertexts learns nothing.
func (s *session) explainCipher(ctx context.Context, d *direction, opt *cipherOptions, size int, err error) error {
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
	given := render.Count(size, "byte")
	// Of JSON no more is known than that it is longer.
	plaintext := size
	if !d.encrypts {
		plaintext -= streamExtra
	}
	f.Next = nil
	switch large := plaintext+api.CipherTag > usualCiphertext; {
	case d.encrypts && large:
		f.Why = fmt.Sprintf("The input is too large for this Nexus: %s. %s", given, limitHelp)
		f.Next = []string{keyOfItsOwn}
	case d.encrypts:
		f.Why = fmt.Sprintf("Nexus did not take these %s: its SPIKE_NEXUS_CRYPTO_MAX_CIPHERTEXT_SIZE is probably less than the usual 65536.", given)
		f.Next = []string{keyOfItsOwn}
	case large && !opt.json:
		f.Why = fmt.Sprintf("The input is probably too large for this Nexus: %s. %s\nOr it was changed, or encrypted by another cluster.", given, limitHelp)
	default:
		f.Why = "Nexus cannot open it: it was changed, was cut off, or was encrypted by another cluster."
	}
	return f
}
