package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"golang.org/x/sys/unix"
	modernc "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/spiffe/spike/app/nexus/internal/vault"
)

// conn is the one connection to a file. It uses the driver directly:
// database/sql's pool may replace a connection that it thinks badly of, and with
// it go the lock and every setting; and it allocates several times for each row.
type conn struct {
	driver driverConn
}

// driverConn is what modernc's connection is, beyond the least that a driver has.
type driverConn interface {
	driver.Conn
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnPrepareContext
	modernc.DBStatus
}

// connect opens a file that exists. It reads nothing yet.
func connect(ctx context.Context, path string) (*conn, error) {
	// mode=rw never creates a file. With _error_rc a message is about the error
	// at hand and not about an earlier one.
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: "mode=rw&_error_rc=1&_dqs=0&_defensive=1"}
	connector, err := modernc.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, classify(err, 0))
	}
	full, ok := c.(driverConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("open %s: the driver's %T lacks a method", path, c), c.Close())
	}
	opened := &conn{driver: full}
	if err := opened.keepLog(true); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), c.Close())
	}
	return opened, nil
}

// close ends the connection. With keep, the files stay as they are: see keepLog.
func (c *conn) close(keep bool) error {
	return errors.Join(c.keepLog(keep), classify(c.driver.Close(), 0))
}

// uninterrupted is the context of every statement. A commit runs to its end once
// it is begun, and the driver pays with a goroutine for each call that may not.
func uninterrupted() context.Context { return context.Background() }

// exec runs a statement and passes over its results.
func (c *conn) exec(query string) error {
	_, err := c.driver.ExecContext(uninterrupted(), query, nil)
	return c.classify(err)
}

// query calls row with each row of the result. The values, but for bytes and
// text, are valid until row returns.
func (c *conn) query(query string, row func([]driver.Value) error) error {
	rows, err := c.driver.QueryContext(uninterrupted(), query, nil)
	if err != nil {
		return c.classify(err)
	}
	if err := c.each(rows, row); err != nil {
		return errors.Join(err, c.classify(rows.Close()))
	}
	return c.classify(rows.Close())
}

func (c *conn) each(rows driver.Rows, row func([]driver.Value) error) error {
	values := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(values)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.classify(err)
		}
		if err := row(values); err != nil {
			return err
		}
	}
}

// value returns the only value of the only row of a result.
func (c *conn) value(query string) (driver.Value, error) {
	var value driver.Value
	n := 0
	err := c.query(query, func(values []driver.Value) error {
		n++
		value = values[0]
		return nil
	})
	if err == nil && n != 1 {
		err = fmt.Errorf("%d rows instead of one", n)
	}
	return value, err
}

// set changes a setting and makes sure that it is in force: SQLite ignores what
// it does not know or cannot do.
func (c *conn) set(pragma, value string, want driver.Value) error {
	if err := c.exec("PRAGMA " + pragma + "=" + value); err != nil {
		return fmt.Errorf("pragma %s: %w", pragma, err)
	}
	got, err := c.value("PRAGMA " + pragma)
	if err != nil {
		return fmt.Errorf("pragma %s: %w", pragma, err)
	}
	if got != want {
		return fmt.Errorf("pragma %s is %v, not %v", pragma, got, want)
	}
	return nil
}

// pagesWritten is how many pages went to the write-ahead log since the last call
// with reset.
func (c *conn) pagesWritten(reset bool) (int, error) {
	pages, _, err := c.driver.Status(modernc.DBStatusCacheWrite, reset)
	return pages, c.classify(err)
}

// statement is a prepared statement. It keeps its arguments from call to call,
// so that a row costs no slice.
type statement struct {
	conn   *conn
	driver interface {
		driver.Stmt
		driver.StmtExecContext
	}
	args []driver.NamedValue
}

func (c *conn) prepare(query string) (*statement, error) {
	prepared, err := c.driver.PrepareContext(uninterrupted(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare %q: %w", query, c.classify(err))
	}
	s := &statement{conn: c}
	full, ok := prepared.(interface {
		driver.Stmt
		driver.StmtExecContext
	})
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's %T lacks a method", prepared), prepared.Close())
	}
	s.driver = full
	return s, nil
}

// exec returns how many rows changed.
func (s *statement) exec(values ...driver.Value) (int64, error) {
	s.args = s.args[:0]
	for i, v := range values {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	result, err := s.driver.ExecContext(uninterrupted(), s.args)
	clear(s.args)
	if err != nil {
		return 0, s.conn.classify(err)
	}
	return result.RowsAffected()
}

// classify finds out what an error of this connection means for a store.
func (c *conn) classify(err error) error {
	if err == nil {
		return nil
	}
	errno, unknown := c.systemError()
	if unknown != nil {
		return errors.Join(err, unknown)
	}
	return classify(err, errno)
}

// classify finds out from SQLite's result code, and the system's error behind it, what
// an error means. SQLite reports a full disk as SQLITE_FULL wherever write(2) said
// ENOSPC. A quota that is used up (EDQUOT) is the same to a store, and comes as an I/O
// error. A file system that notices only at the flush that it has no room is another
// matter: what such a flush left on the disk is not known.
func classify(err error, errno unix.Errno) error {
	var e *modernc.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w: %w", vault.ErrFull, err)
	case lib.SQLITE_IOERR:
		if e.Code() == lib.SQLITE_IOERR_WRITE && errno == unix.EDQUOT {
			return fmt.Errorf("%w: %w: %w", vault.ErrFull, err, errno)
		}
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", vault.ErrDamaged, err)
	case lib.SQLITE_BUSY:
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}

// isSQLite reports whether an error is SQLite's own.
func isSQLite(err error) bool {
	var e *modernc.Error
	return errors.As(err, &e)
}

// isCode reports whether it is SQLite's with exactly that extended code.
func isCode(err error, code int) bool {
	var e *modernc.Error
	return errors.As(err, &e) && e.Code() == code
}
