package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const bigSize = 8 << 20

// objects measures small and big objects beside plain files.
func (b *bench) objects(ctx context.Context) error {
	bucket := b.name("objects")
	if _, err := b.user.s3(ctx, http.MethodPut, "/"+bucket, nil, payload{}); err != nil {
		return err
	}
	if err := b.smallObjects(ctx, bucket); err != nil {
		return err
	}
	return b.bigObjects(ctx, bucket)
}

func (b *bench) smallObjects(ctx context.Context, bucket string) error {
	for _, side := range []struct {
		series, path string
		pid          int
		client       *client
	}{
		{"", "/" + bucket + "/small-", b.server.PID(), b.user},
		{".floor", "/small-", b.floors.files.cmd.Process.Pid, b.floors.client.files},
	} {
		keys := 0 // that are read
		for _, m := range []struct{ series, method string }{{"put", http.MethodPut}, {"get", http.MethodGet}} {
			before, err := treeUsage(side.pid)
			if err != nil {
				return err
			}
			p, err := press(ctx, 16, b.size.span, func(ctx context.Context, i int) error {
				r := call{service: "s3", method: m.method, target: fmt.Sprint(side.path, i)}
				if m.method == http.MethodPut {
					r.body = kibibyte
				} else {
					r.target = fmt.Sprint(side.path, i%keys)
				}
				a, err := side.client.do(ctx, r)
				if err == nil && m.method == http.MethodGet && len(a.body) != len(kibibyte.bytes) {
					err = fmt.Errorf("read %d bytes", len(a.body))
				}
				return err
			})
			if err != nil {
				return err
			}
			after, err := treeUsage(side.pid)
			if err != nil {
				return err
			}
			keys = min(1000, len(p.took)/2+1)
			b.out.add(m.series+side.series, p.rate())
			b.out.addTimes(m.series+".took"+side.series, p.took)
			b.out.add(m.series+".cpu"+side.series, milliseconds(after.cpu-before.cpu)/float64(len(p.took)))
		}
	}
	return nil
}

func (b *bench) bigObjects(ctx context.Context, bucket string) error {
	raw := make([]byte, bigSize)
	_, _ = rand.Read(raw)
	big := payloadOf(raw)
	for i := range b.size.big {
		for _, side := range []struct {
			series, path string
			client       *client
		}{
			{"", fmt.Sprintf("/%s/big-%d", bucket, i), b.user},
			{".floor", fmt.Sprintf("/big-%d", i%2), b.floors.client.files},
		} {
			a, err := side.client.s3(ctx, http.MethodPut, side.path, nil, big)
			if err != nil {
				return err
			}
			b.out.add("bigput"+side.series, megabytesPerSecond(a.took))
			if a, err = side.client.s3(ctx, http.MethodGet, side.path, nil, payload{}); err != nil {
				return err
			}
			if !bytes.Equal(a.body, raw) {
				return fmt.Errorf("%s: other bytes came back", side.path)
			}
			b.out.add("bigget"+side.series, megabytesPerSecond(a.took))
		}
		a, err := b.user.s3(ctx, http.MethodPut, fmt.Sprintf("/%s/copy-%d", bucket, i),
			map[string]string{"X-Amz-Copy-Source": fmt.Sprintf("/%s/big-%d", bucket, i)}, payload{})
		if err != nil {
			return err
		}
		b.out.addTime("copy", a.took)
		d, err := copyFile(filepath.Join(b.floors.dir, fmt.Sprint("big-", i%2)), filepath.Join(b.floors.dir, "copy"))
		if err != nil {
			return err
		}
		b.out.addTime("copy.floor", d)
	}
	return nil
}

func megabytesPerSecond(d time.Duration) float64 { return bigSize / 1e6 / d.Seconds() }

// copyFile copies and syncs, as a copy of bytes would have to.
func copyFile(from, to string) (_ time.Duration, err error) {
	began := time.Now()
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Sync(), out.Close())
	return time.Since(began), err
}

// lab measures from the answer to an upload until the function that it
// triggers has made a copy that can be seen.
func (b *bench) lab(ctx context.Context) error {
	source, destination := b.name("source"), b.name("destination")
	for _, bucket := range []string{source, destination} {
		if _, err := b.user.s3(ctx, http.MethodPut, "/"+bucket, nil, payload{}); err != nil {
			return err
		}
	}
	raw := make([]byte, 64<<10)
	_, _ = rand.Read(raw)
	picture := payloadOf(raw)
	copier := b.o.js(copyCode)
	copier.env = map[string]string{"DESTINATION": destination}
	for i := range 2 * b.size.labCold {
		name, err := b.create(ctx, "copy", copier)
		if err != nil {
			return err
		}
		if err := b.trigger(ctx, source, name); err != nil {
			return err
		}
		series := "lab.rapid"
		if i%2 == 0 {
			series = "lab.cold"
			if err := b.awaitPool(ctx); err != nil {
				return err
			}
		}
		if err := b.upload(ctx, series, 5*time.Millisecond, source, destination, picture); err != nil {
			return err
		}
	}
	for range b.size.labWarm {
		if err := b.upload(ctx, "lab.warm", 2*time.Millisecond, source, destination, picture); err != nil {
			return err
		}
		if err := b.copyByHand(ctx, source, destination, picture); err != nil {
			return err
		}
	}
	return nil
}

// trigger makes the function the bucket's only one.
func (b *bench) trigger(ctx context.Context, bucket, function string) error {
	if _, err := b.user.lambda(ctx, http.MethodPost, "/2015-03-31/functions/"+function+"/policy", map[string]any{
		"StatementId": "bucket", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
		"SourceArn": "arn:aws:s3:::" + bucket, "SourceAccount": accountID,
	}); err != nil {
		return err
	}
	_, err := b.user.s3(ctx, http.MethodPut, "/"+bucket+"?notification=", nil, payloadOf([]byte(
		`<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><CloudFunctionConfiguration><CloudFunction>`+
			functionARN(function)+`</CloudFunction><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>in-</Value></FilterRule>`+
			`</S3Key></Filter></CloudFunctionConfiguration></NotificationConfiguration>`)))
	return err
}

// upload puts a picture and looks for its copy every so often: a look costs
// what the function could use, and half of the interval is in the result.
func (b *bench) upload(ctx context.Context, series string, every time.Duration, source, destination string, picture payload) error {
	key := b.name("in")
	if _, err := b.user.s3(ctx, http.MethodPut, "/"+source+"/"+key, nil, picture); err != nil {
		return err
	}
	answered := time.Now()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		a, err := b.user.try(ctx, call{service: "s3", method: http.MethodHead, target: "/" + destination + "/" + key})
		switch {
		case err != nil:
			return err
		case a.status == http.StatusOK:
			b.out.addTime(series, time.Since(answered))
			return nil
		case a.status != http.StatusNotFound:
			return fmt.Errorf("look for the copy: status %d", a.status)
		case time.Since(answered) > time.Minute:
			return errors.New("no copy in a minute")
		}
		<-tick.C
	}
}

// copyByHand makes the two requests that the function makes.
func (b *bench) copyByHand(ctx context.Context, source, destination string, picture payload) error {
	key := b.name("hand")
	if _, err := b.user.s3(ctx, http.MethodPut, "/"+source+"/"+key, nil, picture); err != nil {
		return err
	}
	began := time.Now()
	a, err := b.user.s3(ctx, http.MethodGet, "/"+source+"/"+key, nil, payload{})
	if err != nil {
		return err
	}
	if _, err = b.user.s3(ctx, http.MethodPut, "/"+destination+"/"+key, nil, payload{bytes: a.body, hash: picture.hash}); err != nil {
		return err
	}
	b.out.addTime("lab.floor", time.Since(began))
	return nil
}
