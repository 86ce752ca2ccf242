// Package conformance holds SPIKE's API v1 against the programs that are built
// from this repository: what is said over the wire, by whom, and what comes back.
//
// The cases are in testdata, and in the blocks of the kind "case" in docs/api.md.
// Each is a line, and reads
//
//	WHO [METHOD] TARGET [octets] BODY -> STATUS [ANSWER]
//
// WHO is a role (superuser, recover, restore, lite, nexus, keeper), or the path
// of any other SPIFFE ID; both may be followed by @ and a trust domain. METHOD is
// POST unless it is given. TARGET is a path of Nexus; behind "keeper:" it is one
// of the first Keeper. octets stands for application/octet-stream. A line that
// begins with a space continues the one before it, # begins a comment. STATUS is
// "refused" where there is no answer at all.
//
// In BODY, ${empty} is nothing, ${3*ab} is ababab, ${0x00ff} is two bytes, and
// ${name} is what an answer gave. In ANSWER, ${name} keeps what is there, or
// wants what was kept; ${TIME}, ${ID} and ${SHARD} are any such thing; … is
// anything.
//
// Lines that begin with a lower-case word and a colon are not cases:
//
//	cluster: open          what is started: open, new (without operator init),
//	                       memory or lite
//	set: NAME=VALUE        a setting of Nexus's
//	step: STEP             something done to the cluster; see step in cluster_test.go
package conformance
