module github.com/spiffe/spike/app/nexus

go 1.26.0

replace github.com/spiffe/spike/internal => ../../internal

require (
	github.com/spiffe/spike/internal v0.0.0-00010101000000-000000000000
	pgregory.net/rapid v1.3.0
)
