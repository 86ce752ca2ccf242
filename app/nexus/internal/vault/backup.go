package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
	"github.com/spiffe/spike/internal/decision"
)

// Backup is a copy of the store, as sealed as the store is, and what it is a copy
// of. Whoever has it closes it.
type Backup struct {
	Head backup.Head
	Copy
}

// Backup makes a copy of the store as of one commit, while it serves. It returns
// api.ErrNoRootKeyBackend for a store that cannot be copied, and api.ErrNoRoom
// when there is no room for a copy.
func (v *Vault) Backup(ctx context.Context, caller Caller) (*Backup, error) {
	r, err := v.beginOperator(ctx, caller, decision.OperatorBackup)
	if err != nil {
		return nil, err
	}
	b, err := v.backup(ctx)
	if err = r.done(ctx, err); err != nil {
		if b != nil {
			err = errors.Join(err, b.Close())
		}
		return nil, err
	}
	v.log.Info("made a backup", "caller", caller.ID, "epoch", b.Head.Epoch, "sequence", b.Head.Sequence, "bytes", b.Head.Size)
	return b, nil
}

func (v *Vault) backup(ctx context.Context) (*Backup, error) {
	store, ok := v.store.(Exporter)
	h := v.Header()
	if !ok || h == nil {
		return nil, api.ErrNoRootKeyBackend
	}
	v.mu.Lock()
	c := v.committer
	v.mu.Unlock()
	if c == nil {
		return nil, api.ErrNotReady
	}
	var b *Backup
	err := c.submit(ctx, &write{done: make(chan error, 1), alone: func(now *held) error {
		content, err := store.Export(ctx)
		if err != nil {
			return err
		}
		b = &Backup{Copy: content, Head: backup.Head{
			Cluster: h.Cluster.String(), KeyID: h.KeyID.String(), Threshold: h.Threshold, Shards: len(h.Paper),
			Created: time.Now().UTC().Truncate(time.Second), Epoch: now.state.epoch, Sequence: now.state.sequence,
			Secrets: now.secrets.Len(), Size: content.Size(),
		}}
		return nil
	}})
	if errors.Is(err, ErrFull) {
		err = fmt.Errorf("%w: %w", api.ErrNoRoom, err)
	}
	return b, err
}

// Load makes a backup the store of an uninitialized vault, which is locked then.
// It returns api.ErrAlreadyInitialized where there is a store already,
// api.ErrBackupInvalid for what is no whole backup of a store that this program
// knows, and api.ErrNoRoom; nothing has changed then. The caller has decided.
func (v *Vault) Load(ctx context.Context, from *backup.Reader) (*Header, error) {
	v.lifecycle.Lock()
	defer v.lifecycle.Unlock()
	switch v.State() {
	case api.StateUninitialized:
	case api.StateFailed:
		return nil, ErrClosed
	default:
		return nil, api.ErrAlreadyInitialized
	}
	store, ok := v.store.(Importer)
	if !ok {
		return nil, api.ErrNoRootKeyBackend
	}
	var header *Header
	err := store.Import(ctx, named{from}, func(raw []byte, state State) (err error) {
		header, err = fits(raw, state, &from.Head)
		return err
	})
	if err != nil {
		return nil, v.notLoaded(err)
	}
	v.mu.Lock()
	v.header, v.state = header, api.StateLocked
	v.mu.Unlock()
	v.log.Warn("a backup was loaded; locked until the root key is there", "cluster", header.Cluster.String(),
		"key_id", header.KeyID.String(), "sequence", from.Head.Sequence, "created", from.Head.Created)
	return header, nil
}

// notLoaded says what an error of Import's means for the one who sent the backup.
func (v *Vault) notLoaded(err error) error {
	var sent *sendError
	switch {
	case errors.Is(err, ErrUnknown):
		v.fail(err)
		return err
	case errors.Is(err, ErrFull):
		return fmt.Errorf("%w: %w", api.ErrNoRoom, err)
	case errors.As(err, &sent), errors.Is(err, ErrFormat), errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w: %w", api.ErrBackupInvalid, err)
	}
	return err
}

// named tells errors of the backup from those of the store that takes it.
type named struct{ io.Reader }

type sendError struct{ error }

func (e *sendError) Unwrap() error { return e.error }

// Read implements io.Reader.
func (n named) Read(p []byte) (int, error) {
	read, err := n.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &sendError{err}
	}
	return read, err
}

// fits reads a header and says whether it is of the store that the backup's first
// line tells of.
func fits(raw []byte, state State, head *backup.Head) (*Header, error) {
	h, err := ParseHeader(raw)
	if err != nil {
		return nil, err
	}
	if h.Cluster.String() != head.Cluster || h.KeyID.String() != head.KeyID || state.Sequence != head.Sequence ||
		h.Threshold != head.Threshold || len(h.Paper) != head.Shards {
		return nil, fmt.Errorf("%w: it is another store than its first line says", ErrDamaged)
	}
	return h, nil
}
