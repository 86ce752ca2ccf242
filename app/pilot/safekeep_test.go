package main

import (
	"bytes"
	"net/http"
	"time"

	"github.com/spiffe/spike/internal/api"
	"github.com/spiffe/spike/internal/backup"
)

// stream is an answer that is not JSON.
type stream []byte

func behind() *api.OperatorRollback {
	return &api.OperatorRollback{Epoch: 1, Sequence: 5, ToldEpoch: 1, ToldSequence: 9}
}

// safekeep answers what has to do with backups, and with stores that were put
// back. A backup's store is made up.
func (w *world) safekeep(route string, r *http.Request) (any, error) {
	switch route {
	case api.PathOperatorAccept:
		return answer(r, func(req *api.OperatorAcceptRequest) (res api.OperatorAcceptResponse, err error) {
			switch {
			case w.state != api.StateBehind:
				return res, api.ErrNotBehind
			case req.Sequence != behind().Sequence:
				return res, api.ErrVersionConflict
			}
			w.state = api.StateOpen
			return api.OperatorAcceptResponse{Behind: behind()}, nil
		})
	case api.PathOperatorKeeper:
		return answer(r, func(req *api.OperatorKeeperRequest) (res api.OperatorKeeperResponse, err error) {
			res.Keepers = []string{"https://keeper-1:8443", "https://keeper-2:8443", "https://keeper-3:8443"}
			for index, url := range req.Replace {
				if index > len(res.Keepers) {
					return api.OperatorKeeperResponse{}, api.ErrBadRequest
				}
				res.Replaced = append(res.Replaced, api.ReplacedKeeper{
					Index: index, URL: res.Keepers[index-1], Erased: true, Detail: "its share is erased",
				})
				res.Keepers[index-1] = url
			}
			return res, nil
		})
	case api.PathOperatorBackup:
		if w.state != api.StateOpen {
			return nil, api.ErrNotReady
		}
		content := bytes.Repeat([]byte("sealed. "), 20_000)
		var out bytes.Buffer
		err := backup.Write(&out, backup.Head{
			Cluster: "c-1", KeyID: "k-1", Threshold: 2, Shards: 3, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
			Epoch: 1, Sequence: 9, Secrets: len(w.secrets), Size: int64(len(content)),
		}, bytes.NewReader(content))
		return stream(out.Bytes()), err
	}
	if w.state != api.StateUninitialized {
		return nil, api.ErrAlreadyInitialized
	}
	head, err := backup.Verify(r.Body)
	if err != nil {
		return nil, api.ErrBackupInvalid
	}
	w.state = api.StateLocked
	return api.OperatorLoadResponse{Cluster: head.Cluster, KeyID: head.KeyID, Threshold: 2, Shards: 3, Sequence: int64(head.Sequence)}, nil
}
