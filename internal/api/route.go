package api

// The paths of Nexus's API. The operation is in the query, as ?action=; a path
// without one does what its name says, or a put.
const (
	PathSecret          = "/v1/store/secrets"
	PathSecretMetadata  = "/v1/store/secrets/metadata"
	PathPolicy          = "/v1/acl/policy"
	PathCipherEncrypt   = "/v1/cipher/encrypt"
	PathCipherDecrypt   = "/v1/cipher/decrypt"
	PathOperatorInit    = "/v1/operator/init"
	PathOperatorStatus  = "/v1/operator/status"
	PathOperatorAccept  = "/v1/operator/accept"
	PathOperatorRecover = "/v1/operator/recover"
	PathOperatorRestore = "/v1/operator/restore"
	PathOperatorBackup  = "/v1/operator/backup"
	PathOperatorLoad    = "/v1/operator/load"
	PathOperatorKeeper  = "/v1/operator/keeper"
)

// The values of ?action=. ActionPut is the absence of one.
const (
	ActionPut      = ""
	ActionGet      = "get"
	ActionList     = "list"
	ActionDelete   = "delete"
	ActionUndelete = "undelete"
	ActionDestroy  = "destroy"
)

// MaxBody is the largest request body in bytes. A larger one is refused without
// being read whole.
const MaxBody = 8 << 20

// RequestIDHeader carries the id under which a request stands in the server's
// logs. It is in every answer.
const RequestIDHeader = "X-Request-Id"
