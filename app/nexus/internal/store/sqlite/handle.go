package sqlite

import (
	"fmt"
	"reflect"

	"golang.org/x/sys/unix"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// The driver offers no way to the few settings of SQLite's that have no pragma. Its
// library does, for the handle of a connection, which the driver keeps to itself.
// Reading that field is all that is taken from its inside; a driver that has it no
// longer is found out by the first connection.

// handle is SQLite's own pointer to the connection.
func (c *conn) handle() (uintptr, error) {
	v := reflect.Indirect(reflect.ValueOf(c.driver))
	if v.Kind() == reflect.Struct {
		if db := v.FieldByName("db"); db.Kind() == reflect.Uintptr && db.Uint() != 0 {
			return uintptr(db.Uint()), nil
		}
	}
	return 0, fmt.Errorf("the driver's %T has no handle", c.driver)
}

// keepLog says what becomes of the write-ahead log when the connection is closed.
// Kept, it and the database stay as they are. Otherwise SQLite carries it over into
// the database and deletes it, which is the end of what either of them was.
func (c *conn) keepLog(keep bool) error {
	db, err := c.handle()
	if err != nil {
		return err
	}
	tls := libc.NewTLS()
	defer tls.Close()
	on := int32(0)
	if keep {
		on = 1
	}
	const size = 16 // an int and a pointer, each in eight bytes
	arguments := tls.Alloc(size)
	defer tls.Free(size)
	code := lib.Xsqlite3_db_config(tls, db, lib.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, libc.VaList(arguments, on, uintptr(0)))
	if code != lib.SQLITE_OK {
		return fmt.Errorf("say what becomes of the log: SQLite's result code %d", code)
	}
	return nil
}

// systemError is what the system said when the last of SQLite's calls of it failed.
func (c *conn) systemError() (unix.Errno, error) {
	db, err := c.handle()
	if err != nil {
		return 0, err
	}
	tls := libc.NewTLS()
	defer tls.Close()
	return unix.Errno(lib.Xsqlite3_system_errno(tls, db)), nil
}
