package lambda

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"davy/internal/awsapi"
	"davy/internal/blob"
)

// CodePath is where the server answers the links of CodeLinks.
const CodePath = "/_davy/code/"

// linkLife is how long a link to code is good for, as on AWS.
const linkLife = 10 * time.Minute

// CodeLinks makes and answers the links by which GetFunction hands out code.
// A link names one package, ends after ten minutes, and is signed with a key
// that lives as long as the process: whoever has it needs no credentials.
type CodeLinks struct{ secret [32]byte }

// NewCodeLinks returns links with a new key.
func NewCodeLinks() (*CodeLinks, error) {
	l := new(CodeLinks)
	_, err := rand.Read(l.secret[:])
	return l, err
}

// URL links to the package with this SHA-256 (hex), at the address that the
// request in ctx was sent to. It is a Config.CodeURL.
func (l *CodeLinks) URL(ctx context.Context, sha256 string) (string, error) {
	call := awsapi.CallFrom(ctx)
	if call.Request == nil || call.Request.Host == "" {
		return "", errors.New("lambda: no request to link back to")
	}
	u := url.URL{Scheme: "http", Host: call.Request.Host, Path: CodePath + sha256}
	if call.Secure {
		u.Scheme = "https"
	}
	expires := strconv.FormatInt(time.Now().Add(linkLife).Unix(), 10)
	u.RawQuery = url.Values{"expires": {expires}, "signature": {l.sign(sha256, expires)}}.Encode()
	return u.String(), nil
}

func (l *CodeLinks) sign(sha, expires string) string {
	m := hmac.New(sha256.New, l.secret[:])
	m.Write([]byte(sha + "\n" + expires))
	return hex.EncodeToString(m.Sum(nil))
}

// Handler answers the links below CodePath; open is Service.CodeZip.
func (l *CodeLinks) Handler(open func(ctx context.Context, sha256 string) (io.ReaderAt, int64, func() error, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		sha := strings.TrimPrefix(r.URL.Path, CodePath)
		q := r.URL.Query()
		expires := q.Get("expires")
		if !hmac.Equal([]byte(q.Get("signature")), []byte(l.sign(sha, expires))) {
			http.Error(w, "the signature does not match", http.StatusForbidden)
			return
		}
		if end, err := strconv.ParseInt(expires, 10, 64); err != nil || time.Now().Unix() > end {
			http.Error(w, "the link has expired", http.StatusForbidden)
			return
		}
		zip, size, closeZip, err := open(r.Context(), sha)
		if errors.Is(err, blob.ErrNotFound) {
			http.Error(w, "the code is gone", http.StatusNotFound)
			return
		}
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		defer func() { _ = closeZip() }() // it was only read
		w.Header().Set("Content-Type", "application/zip")
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(zip, 0, size))
	})
}
