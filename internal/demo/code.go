package demo

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"slices"
	"strings"
)

// variant is one way to write the copying function. Each is a zip with only
// the handler: the runtime carries the SDKs.
type variant struct {
	name  string
	title string
	file  string
	code  string
	not   []string // runtimes that AWS removed this style from
}

func (v variant) runs(runtime string) bool {
	return strings.HasPrefix(runtime, "nodejs") && !slices.Contains(v.not, runtime)
}

var variants = []variant{
	{
		name: "callback", title: "callback, CommonJS, AWS SDK v2", file: "index.js",
		not: []string{"nodejs24.x"},
		code: `const AWS = require('aws-sdk');
const s3 = new AWS.S3();

exports.handler = (event, context, callback) => {
  const source = event.Records[0].s3;
  const key = decodeURIComponent(source.object.key.replace(/\+/g, ' '));
  console.log('copying', source.bucket.name, key);
  s3.copyObject({
    Bucket: process.env.DESTINATION,
    CopySource: '/' + source.bucket.name + '/' + encodeURIComponent(key),
    Key: key,
  }, (err) => {
    if (err) {
      console.error('copy failed:', err.code, err.message);
      callback(err);
      return;
    }
    console.log('copied', key);
    callback(null, 'copied');
  });
};
`,
	},
	{
		name: "async", title: "async, CommonJS, AWS SDK v3", file: "index.js",
		code: `const { S3Client, GetObjectCommand, PutObjectCommand } = require('@aws-sdk/client-s3');
const s3 = new S3Client({});

exports.handler = async (event) => {
  const source = event.Records[0].s3;
  const key = decodeURIComponent(source.object.key.replace(/\+/g, ' '));
  console.log('copying', source.bucket.name, key);
  try {
    const object = await s3.send(new GetObjectCommand({ Bucket: source.bucket.name, Key: key }));
    await s3.send(new PutObjectCommand({
      Bucket: process.env.DESTINATION,
      Key: key,
      Body: Buffer.from(await object.Body.transformToByteArray()),
      ContentType: object.ContentType,
    }));
  } catch (err) {
    console.error('copy failed:', err.name, err.message);
    throw err;
  }
  console.log('copied', key);
  return 'copied';
};
`,
	},
	{
		name: "module", title: "async, ES module, AWS SDK v3", file: "index.mjs",
		code: `import { S3Client, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
const s3 = new S3Client({});

export const handler = async (event) => {
  const source = event.Records[0].s3;
  const key = decodeURIComponent(source.object.key.replace(/\+/g, ' '));
  console.log('copying', source.bucket.name, key);
  const object = await s3.send(new GetObjectCommand({ Bucket: source.bucket.name, Key: key }));
  await s3.send(new PutObjectCommand({
    Bucket: process.env.DESTINATION,
    Key: key,
    Body: Buffer.from(await object.Body.transformToByteArray()),
    ContentType: object.ContentType,
  }));
  console.log('copied', key);
  return 'copied';
};
`,
	},
}

// zipOf packs one file as a deployment package.
func zipOf(name, content string) ([]byte, error) {
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	f, err := w.Create(name)
	if err != nil {
		return nil, fmt.Errorf("zip %s: %w", name, err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		return nil, fmt.Errorf("zip %s: %w", name, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("zip %s: %w", name, err)
	}
	return buf.Bytes(), nil
}

// picture draws a lamp flame behind a mesh, as a PNG.
func picture() ([]byte, error) {
	const width, height = 480, 640
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			dx, dy := float64(x-width/2)/90, float64(y-height*3/5)/170
			if dy < 0 {
				dx *= 1 + 0.9*-dy // a flame narrows upwards
			}
			glow := math.Exp(-(dx*dx + dy*dy))
			c := color.RGBA{uint8(20 + 235*glow), uint8(18 + 180*glow*glow), uint8(30 + 70*math.Pow(glow, 6)), 255}
			if x%16 < 2 || y%16 < 2 {
				c.R, c.G, c.B = c.R/2, c.G/2, c.B/2
			}
			img.SetRGBA(x, y, c)
		}
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		return nil, fmt.Errorf("encode picture: %w", err)
	}
	return buf.Bytes(), nil
}
