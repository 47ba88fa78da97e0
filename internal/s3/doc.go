// Package s3 implements Amazon S3's buckets, objects, multipart uploads,
// versions and bucket notifications on a state.Store (metadata) and a
// blob.Store (bytes).
//
// Invariant: an object, the references that keep its bytes alive and the
// events that announce it change in one transaction. A write that was
// acknowledged has its event in the queue; a write that was not has neither.
//
// # Rows
//
//	document s3/bucket/NAME            bucket: owner, region, every setting
//	document s3/dropped/ID             a deleted bucket whose uploads wait for the collector
//	s3/obj/BUCKETID    KEY             the latest version of a key (may be a delete marker)
//	s3/ver/BUCKETID    KEY' ^SEQ       older versions, newest first
//	s3/upl/BUCKETID    KEY' UPLOADID   multipart uploads in progress
//	s3/part/UPLOADID   NNNNN           their parts
//	s3/sweep           UPLOADID        an upload has ended, its part rows are to be removed
//	s3/man/UPLOADID    (one row)       the parts of a completed upload: its manifest
//	s3/body            ID              bodies of at most 16 KiB, owned by one version
//	s3/ref             DATAID/OWNER    who keeps a blob or a manifest alive
//
// KEY' is the key escaped and terminated so that memcmp keeps the keys' order.
//
// # Bytes
//
// A body is written to a blob, and the blob is durable before the transaction
// that names it. Copies share a blob: each version owns one row in s3/ref. A
// reference may be added only in a transaction that checks that another one
// still exists (or by the request that wrote the blob). So once no reference
// is left none can ever come back, and the file can be removed without a lock.
// What a crash leaves behind is found by Run, by age.
package s3
