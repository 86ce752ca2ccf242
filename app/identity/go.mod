module github.com/spiffe/spike/app/identity

go 1.26.0

require github.com/spiffe/spike/internal v0.0.0-00010101000000-000000000000

replace github.com/spiffe/spike/internal => ../../internal
