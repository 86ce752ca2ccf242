package vault

// WearOutCipherKey uses the newest key's reservation up, and with entirely also
// what it could still reserve.
func (v *Vault) WearOutCipherKey(entirely bool) {
	k := v.current.Load().ciphers[0]
	if entirely {
		k.reserved = cipherMessages
	}
	k.used.Store(k.reserved)
}

// CipherKeys returns how many keys the cipher service has.
func (v *Vault) CipherKeys() int { return len(v.current.Load().ciphers) }
