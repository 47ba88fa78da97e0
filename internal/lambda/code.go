package lambda

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"davy/internal/awsapi"
	"davy/internal/blob"
	"davy/internal/state"
)

// storedCode says where a deployment package is. Packages are shared by
// content: a version that is published costs no further bytes.
type storedCode struct {
	Blob     blob.ID
	Size     int64
	Unzipped int64 // bytes of its files
	Uses     int64 // versions of functions and layers that have it
}

// upload is a package that a caller brought and no document names yet.
type upload struct {
	sha256   string // hex
	size     int64
	unzipped int64   // bytes of its files
	zip      []byte  // nil when it is in a blob already
	id       blob.ID // empty until written
	kept     bool    // the last change that was tried names the blob
}

// source is where a request says that the code is.
type source struct {
	zip                  []byte
	bucket, key, version *string
}

// receive takes a package in and refuses one that could not be unpacked.
func (s *Service) receive(ctx context.Context, src source) (*upload, error) {
	switch fromS3 := src.bucket != nil || src.key != nil; {
	case src.zip != nil && fromS3:
		return nil, invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
	case src.zip != nil:
		return s.receiveZip(src.zip)
	case src.bucket != nil && src.key != nil:
		return s.receiveObject(ctx, *src.bucket, *src.key, awsapi.Val(src.version))
	}
	return nil, invalid("Please provide a source for function code.")
}

func (s *Service) receiveZip(zip []byte) (*upload, error) {
	switch {
	case len(zip) > maxZipUpload:
		return nil, awsapi.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException", "Zipped size must be smaller than %d bytes", maxZipUpload)
	case len(zip) == 0:
		return nil, invalid("Uploaded file must be a non-empty zip")
	}
	unzipped, err := s.checkZip(bytes.NewReader(zip), int64(len(zip)))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(zip)
	return &upload{sha256: hex.EncodeToString(sum[:]), size: int64(len(zip)), unzipped: unzipped, zip: zip}, nil
}

func (s *Service) checkZip(zip io.ReaderAt, size int64) (unzipped int64, err error) {
	unzipped, err = s.cfg.CheckZip(zip, size)
	if modelled := awsapi.Error(nil); err == nil || errors.As(err, &modelled) {
		return unzipped, err
	}
	return 0, fmt.Errorf("%w (%w)", invalid("Could not unzip uploaded file. Please check your file, then try to upload again."), err)
}

func (s *Service) receiveObject(ctx context.Context, bucket, key, objectVersion string) (_ *upload, err error) {
	if s.cfg.Objects == nil {
		return nil, invalid("Code from S3 is not supported by this server.")
	}
	object, err := s.cfg.Objects.OpenObject(ctx, bucket, key, objectVersion)
	if modelled := awsapi.Error(nil); errors.As(err, &modelled) {
		return nil, fmt.Errorf("%w (%w)", invalid("Error occurred while GetObject. S3 Error Code: %s. S3 Error Message: %s", modelled.ErrorCode(), messageOf(modelled)), err)
	} else if err != nil {
		return nil, fmt.Errorf("read code s3://%s/%s: %w", bucket, key, err)
	}
	defer object.Close()
	w, err := s.cfg.Blobs.Create(ctx)
	if err != nil {
		return nil, fmt.Errorf("store code: %w", err)
	}
	defer w.Abort()
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(object, maxUnzipped+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read code s3://%s/%s: %w", bucket, key, err)
	case size > maxUnzipped:
		return nil, invalid("Unzipped size must be smaller than %d bytes", maxUnzipped)
	case size == 0:
		return nil, invalid("Uploaded file must be a non-empty zip")
	}
	u := &upload{sha256: hex.EncodeToString(sum.Sum(nil)), size: size}
	if u.id, err = w.Commit(); err != nil {
		return nil, fmt.Errorf("store code: %w", err)
	}
	defer func() {
		if err != nil {
			s.settle(ctx, u, err)
		}
	}()
	r, err := s.cfg.Blobs.Open(ctx, u.id)
	if err != nil {
		return nil, fmt.Errorf("read code back: %w", err)
	}
	defer r.Close()
	u.unzipped, err = s.checkZip(r, size)
	return u, err
}

// messageOf is the text of a modelled error without its code.
func messageOf(err awsapi.Error) string {
	text, code := err.Error(), err.ErrorCode()
	if len(text) > len(code)+2 && text[:len(code)] == code {
		return text[len(code)+2:]
	}
	return text
}

// settle removes the blob of an upload that no document came to name. err is
// how the change ended that was to name it.
func (s *Service) settle(ctx context.Context, u *upload, err error) {
	switch {
	case u == nil || u.id == "":
	case errors.Is(err, state.ErrUnknown): // a document may name it
	case err != nil || !u.kept:
		s.deleteBlob(ctx, u.id)
	}
}

// deleteBlob frees a blob that no document names. A failure leaves garbage for
// the sweeper, so it is only logged.
func (s *Service) deleteBlob(ctx context.Context, id blob.ID) {
	if err := s.cfg.Blobs.Delete(context.WithoutCancel(ctx), id); err != nil {
		s.cfg.Log.WarnContext(ctx, "delete code", "blob", string(id), "error", err)
	}
}

// codeUse is a package whose number of users a change alters.
type codeUse struct {
	storedCode
	rev int64
}

func (t *transaction) codeDoc(sha string) (*codeUse, error) {
	if u := t.code[sha]; u != nil {
		return u, nil
	}
	u := new(codeUse)
	d, err := t.s.cfg.State.Get(t.ctx, codeRoot+sha)
	switch {
	case errors.Is(err, state.ErrNotFound):
		u.rev = state.Absent
	case err != nil:
		return nil, fmt.Errorf("load code %s: %w", sha, err)
	default:
		u.rev = d.Rev
		if err := json.Unmarshal(d.Value, &u.storedCode); err != nil {
			return nil, fmt.Errorf("load code %s: %w", sha, err)
		}
	}
	t.code[sha] = u
	return u, nil
}

// adopt makes an upload the code of one more version.
func (t *transaction) adopt(u *upload) error {
	u.kept = false
	use, err := t.codeDoc(u.sha256)
	if err != nil {
		return err
	}
	if use.Blob == "" {
		if u.id == "" {
			if u.id, err = t.s.writeBlob(t.ctx, u.zip); err != nil {
				return err
			}
		}
		u.kept = true
		use.Blob, use.Size = u.id, u.size
	}
	use.Unzipped = u.unzipped
	use.Uses++
	return nil
}

func (s *Service) writeBlob(ctx context.Context, b []byte) (blob.ID, error) {
	w, err := s.cfg.Blobs.Create(ctx)
	if err != nil {
		return "", fmt.Errorf("store code: %w", err)
	}
	defer w.Abort()
	if _, err := w.Write(b); err != nil {
		return "", fmt.Errorf("store code: %w", err)
	}
	id, err := w.Commit()
	if err != nil {
		return "", fmt.Errorf("store code: %w", err)
	}
	return id, nil
}

// use counts one more (+1) or one fewer (-1) version with this code.
func (t *transaction) use(sha string, n int64) error {
	u, err := t.codeDoc(sha)
	if err != nil {
		return err
	}
	u.Uses += n
	return nil
}

func (t *transaction) writeCode() error {
	for sha, u := range t.code {
		if u.Uses <= 0 {
			t.batch.Ops = append(t.batch.Ops, state.Op{Key: codeRoot + sha, IfRev: u.rev})
		} else if err := t.put(codeRoot+sha, u.storedCode, u.rev); err != nil {
			return err
		}
	}
	return nil
}

// freeCode removes the packages that the committed change left without a user.
func (t *transaction) freeCode() {
	for _, u := range t.code {
		if u.Uses <= 0 && u.Blob != "" {
			t.s.deleteBlob(t.ctx, u.Blob)
		}
	}
}

// CodeZip opens the package with this SHA-256 (hex). The error wraps
// blob.ErrNotFound when no function has it.
func (s *Service) CodeZip(ctx context.Context, sha256 string) (zip io.ReaderAt, size int64, closeZip func() error, err error) {
	d, err := s.cfg.State.Get(ctx, codeRoot+sha256)
	if errors.Is(err, state.ErrNotFound) {
		return nil, 0, nil, fmt.Errorf("code %s: %w", sha256, blob.ErrNotFound)
	}
	if err != nil {
		return nil, 0, nil, fmt.Errorf("code %s: %w", sha256, err)
	}
	var c storedCode
	if err := json.Unmarshal(d.Value, &c); err != nil {
		return nil, 0, nil, fmt.Errorf("code %s: %w", sha256, err)
	}
	r, err := s.cfg.Blobs.Open(ctx, c.Blob)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("code %s: %w", sha256, err)
	}
	return r, r.Size(), r.Close, nil
}

// EachBlob calls fn for every blob that holds a package, so that a sweeper can
// tell garbage from code, until fn returns an error.
func (s *Service) EachBlob(ctx context.Context, fn func(blob.ID) error) error {
	for after := ""; ; {
		docs, err := s.cfg.State.List(ctx, codeRoot, after, 500)
		if err != nil {
			return fmt.Errorf("list code: %w", err)
		}
		for _, d := range docs {
			var c storedCode
			if err := json.Unmarshal(d.Value, &c); err != nil {
				return fmt.Errorf("load code %s: %w", d.Key, err)
			}
			if err := fn(c.Blob); err != nil {
				return err
			}
			after = d.Key
		}
		if len(docs) < 500 {
			return nil
		}
	}
}

// EachRuntime calls fn with the runtime and the memory, in MB, of every
// function's unpublished version until fn returns an error.
func (s *Service) EachRuntime(ctx context.Context, fn func(runtime string, memoryMB int) error) error {
	for after := ""; ; {
		docs, err := s.cfg.State.List(ctx, functionRoot, after, 100)
		if err != nil {
			return fmt.Errorf("list functions: %w", err)
		}
		for _, d := range docs {
			after = d.Key
			var f struct {
				Latest struct {
					Runtime    string
					MemorySize int
				}
			}
			if err := json.Unmarshal(d.Value, &f); err != nil {
				return fmt.Errorf("load %s: %w", d.Key, err)
			}
			if err := fn(f.Latest.Runtime, f.Latest.MemorySize); err != nil {
				return err
			}
		}
		if len(docs) == 0 {
			return nil
		}
	}
}
