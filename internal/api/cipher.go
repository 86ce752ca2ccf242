package api

// The cipher service: AES-256-GCM with a random nonce of 12 bytes.
const (
	CipherVersion   = 1
	CipherAlgorithm = "AES-256-GCM"
	CipherNonce     = 12
	CipherTag       = 16
)

// CipherEncryptRequest asks for plaintext to be encrypted. Byte slices are
// base64 in JSON. Algorithm may be empty.
type CipherEncryptRequest struct {
	Plaintext []byte `json:"plaintext"`
	Algorithm string `json:"algorithm,omitempty"`
}

// CipherEncryptResponse has what decrypting needs.
type CipherEncryptResponse struct {
	Version    int    `json:"version"`
	Nonce      []byte `json:"nonce"`
	Ciphertext []byte `json:"ciphertext"`
	Err        Code   `json:"err,omitempty"`
}

// CipherDecryptRequest is an encrypt's answer, sent back.
type CipherDecryptRequest struct {
	Version    int    `json:"version"`
	Nonce      []byte `json:"nonce"`
	Ciphertext []byte `json:"ciphertext"`
	Algorithm  string `json:"algorithm,omitempty"`
}

// CipherDecryptResponse answers a decrypt.
type CipherDecryptResponse struct {
	Plaintext []byte `json:"plaintext"`
	Err       Code   `json:"err,omitempty"`
}

// SetErr makes the answer one that failed.
func (r *CipherEncryptResponse) SetErr(code Code) { r.Err = code }

// SetErr makes the answer one that failed.
func (r *CipherDecryptResponse) SetErr(code Code) { r.Err = code }
