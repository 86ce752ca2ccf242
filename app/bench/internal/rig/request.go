package rig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/spiffe/spike/app/bench/internal/ceiling"
	"github.com/spiffe/spike/app/bench/internal/load"
	"github.com/spiffe/spike/internal/api"
)

// paths is how many paths are read and written; of all there are, each of the
// applications has as many.
const (
	paths        = 1000
	applications = 100
)

func path(i int) string {
	return fmt.Sprintf("bench/app-%03d/key-%06d", i%applications, i)
}

// value has 64 bytes, other ones for each path.
func value(i int) string {
	sum := sha256.Sum256([]byte(path(i)))
	return hex.EncodeToString(sum[:])
}

func getRequest(i int) *load.Request {
	return load.NewRequest(load.Read, api.PathSecret+"?action="+api.ActionGet,
		fmt.Sprintf(`{"path":%q,"version":0}`, path(i)), fmt.Sprintf(`{"data":{"value":%q}}`, value(i)))
}

func putRequest(i int) *load.Request {
	return load.NewRequest(load.Write, api.PathSecret,
		fmt.Sprintf(`{"path":%q,"values":{"value":%q}}`, path(i), value(i)), ceiling.WriteAnswer)
}

// page is how many keys a list asks for.
const page = 100

// listRequest asks for the first keys of an application in a store of so many
// secrets.
func listRequest(application, secrets int) *load.Request {
	var keys []string
	for i := application; i < secrets && len(keys) < page; i += applications {
		keys = append(keys, strconv.Quote(path(i)))
	}
	return load.NewRequest(load.List, api.PathSecret+"?action="+api.ActionList,
		fmt.Sprintf(`{"prefix":"bench/app-%03d/","limit":%d}`, application, page),
		`{"keys":[`+strings.Join(keys, ",")+`]}`)
}

// CeilingReads are reads of the same size that want the ceiling's answer.
func CeilingReads() []*load.Request {
	list := make([]*load.Request, paths)
	for i := range list {
		list[i] = getRequest(i)
		list[i].Want = []byte(ceiling.ReadAnswer)
	}
	return list
}

// CeilingWrites are the writes, whose answer is the same.
func CeilingWrites() []*load.Request {
	list := make([]*load.Request, paths)
	for i := range list {
		list[i] = putRequest(i)
	}
	return list
}
