package cli

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/spiffe/spike/app/pilot/internal/paper"
	"github.com/spiffe/spike/app/pilot/internal/render"
)

// recoverOut writes each shard to a file of its own. Nexus is not asked before there
// is a place for each, and nothing of the set stays unless all of it does.
func (a *app) recoverOut(ctx context.Context, outs []string, force bool) (err error) {
	for i, out := range outs {
		if outs[i], err = filepath.Abs(out); err != nil {
			return explainOut(err)
		}
	}
	if err := a.warnParts(outs...); err != nil {
		return explainOut(err)
	}
	places, err := paper.Reserve(outs, force)
	if err != nil {
		return explainOut(err)
	}
	defer func() {
		if aborted := places.Abort(); aborted != nil && err == nil {
			err = explainOut(aborted)
		}
	}()
	set, err := a.fetchSet(ctx)
	if err != nil {
		return err
	}
	defer set.Wipe()
	written, unsettled := places.Write(set)
	if !written {
		return explainOut(unsettled)
	}
	err = a.printFiles(outs)
	a.tellWritten(set, "  - Give each file to a different person, and have it kept offline.")
	if unsettled != nil {
		return explainUnsettled(unsettled)
	}
	return despite("The recovery shards were written.", err)
}

// explainOut says why no shard was written.
func explainOut(err error) error {
	const nothing = "No recovery shards were written."
	switch {
	case errors.Is(err, paper.ErrLeft):
		return explainPaper(err)
	case errors.Is(err, paper.ErrFolder):
		return &Failure{
			Code: Failed, What: nothing, Why: render.Sentence(err.Error()), Err: err,
			Next: []string{"Name a file in another folder."},
		}
	case errors.Is(err, paper.ErrTwice):
		return &Failure{
			Code: Usage, What: nothing, Why: render.Sentence(err.Error()), Err: err,
			Next: []string{"Name another file for each shard."},
		}
	// Nexus has been asked by now, so this is not the command line's code.
	case errors.Is(err, paper.ErrCount):
		return &Failure{
			Code: Failed, What: nothing, Why: render.Sentence(err.Error()), Err: err,
			Next: []string{"Give --out once for each shard."},
		}
	}
	return fileTrouble(nothing, err)
}
