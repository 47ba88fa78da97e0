package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"davy/api/lambdaapi"
	"davy/internal/arn"
	"davy/internal/authz"
	"davy/internal/awsapi"
	"davy/internal/blob/tree"
	"davy/internal/execenv"
	"davy/internal/gateway"
	"davy/internal/iam"
	"davy/internal/invoke"
	"davy/internal/lambda"
	"davy/internal/logs"
	"davy/internal/policy"
	"davy/internal/s3"
	"davy/internal/state"
)

// lambdaAPI is Lambda as clients see it: control plane and data plane.
type lambdaAPI struct {
	*lambda.Service
	data         *invoke.Dispatcher
	environments *execenv.Environments
}

func (a lambdaAPI) Invoke(ctx context.Context, in *lambdaapi.InvocationRequest) (*lambdaapi.InvocationResponse, error) {
	return a.data.Invoke(ctx, in)
}

func (a lambdaAPI) InvokeWithResponseStream(ctx context.Context, in *lambdaapi.InvokeWithResponseStreamRequest) (*lambdaapi.InvokeWithResponseStreamResponse, error) {
	return a.data.InvokeWithResponseStream(ctx, in)
}

func (a lambdaAPI) InvokeAsync(ctx context.Context, in *lambdaapi.InvokeAsyncRequest) (*lambdaapi.InvokeAsyncResponse, error) {
	return a.data.InvokeAsync(ctx, in)
}

// catalogue gives invoke the functions of lambda.
type catalogue struct{ lambda *lambda.Service }

func (c catalogue) Resolve(ctx context.Context, account, region, name, qualifier string) (*execenv.Function, invoke.Settings, error) {
	fn, s, err := c.lambda.Resolve(ctx, account, region, name, qualifier)
	return fn, invoke.Settings(s), err
}

// resources gives authz the policies that belong to resources.
type resources struct {
	s3     *s3.Service
	lambda *lambda.Service
	iam    *iam.Accounts
	logs   *logs.Service
	parsed policyCache
}

// ResourcePolicy finds the policy of the bucket, function, layer or role that a
// resource's ARN lies in.
func (r *resources) ResourcePolicy(ctx context.Context, resourceARN string) (*policy.Document, string, map[string]string, error) {
	a, err := arn.Parse(resourceARN)
	if err != nil {
		return nil, "", nil, nil // no resource, and so nothing to allow
	}
	switch a.Service {
	case "s3":
		name, _, _ := strings.Cut(a.Resource, "/")
		info, ok, err := r.s3.Bucket(ctx, name)
		if err != nil || !ok {
			return nil, "", nil, err
		}
		doc, err := r.parsed.document(info.Policy)
		if strings.Contains(a.Resource, "/") {
			info.Tags = nil // an object's own are s3:ExistingObjectTag
		}
		return doc.Bind(info.Bound), info.Owner, info.Tags, err
	case "lambda":
		find := r.lambda.FunctionPolicy
		if strings.HasPrefix(a.Resource, "layer:") {
			find = r.lambda.LayerPolicy
		}
		text, err := find(ctx, resourceARN)
		if err != nil {
			return nil, "", nil, err
		}
		doc, err := r.parsed.document(string(text))
		if err != nil || !strings.HasPrefix(a.Resource, "function:") {
			return doc, a.Account, nil, err
		}
		tags, err := r.lambda.FunctionTags(ctx, resourceARN)
		return doc, a.Account, tags, err
	case "logs":
		if !strings.HasPrefix(a.Resource, "log-group:") {
			return nil, "", nil, nil
		}
		tags, err := r.logs.GroupTags(ctx, resourceARN)
		return nil, a.Account, tags, err
	case "iam":
		return r.iam.Resource(ctx, resourceARN)
	}
	return nil, "", nil, nil
}

// policyCache keeps parsed policies by their text.
type policyCache struct {
	mu   sync.RWMutex
	docs map[string]*policy.Document
}

// maxCachedPolicies bounds the cache; it starts anew when it is full.
const maxCachedPolicies = 4096

func (c *policyCache) document(text string) (*policy.Document, error) {
	if text == "" {
		return nil, nil
	}
	c.mu.RLock()
	doc := c.docs[text]
	c.mu.RUnlock()
	if doc != nil {
		return doc, nil
	}
	doc, err := policy.Parse(text, policy.Resource)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.docs == nil || len(c.docs) >= maxCachedPolicies {
		c.docs = make(map[string]*policy.Document)
	}
	c.docs[text] = doc
	return doc, nil
}

// bucketPolicies tells s3 whether a bucket policy is well made, and whom it
// means.
type bucketPolicies struct{ iam *iam.Accounts }

func (b bucketPolicies) CheckBucketPolicy(_ context.Context, document, _ string) (map[string]string, error) {
	_, err := policy.Parse(document, policy.Resource)
	var bound map[string]string
	if err == nil {
		bound, err = b.iam.BindPrincipals(document)
	}
	if m, ok := errors.AsType[*policy.MalformedError](err); ok {
		return nil, errors.New(m.Reason)
	}
	return bound, err
}

func (b bucketPolicies) ShowBucketPolicy(_ context.Context, document string, bound map[string]string) string {
	return b.iam.BoundText(document, bound)
}

// objectTags tells authz the tags of objects, once there are some.
type objectTags struct{ s3 *s3.Service }

func (o *objectTags) ObjectTags(ctx context.Context, bucket, key, versionID string) (map[string]string, error) {
	return o.s3.ObjectTags(ctx, bucket, key, versionID)
}

// triggers gives s3 the way to functions.
type triggers struct {
	invoke *invoke.Dispatcher
	authz  *authz.Authorizer
}

// Message makes the message that will deliver an event.
func (t *triggers) Message(ctx context.Context, target, bucketARN, account string, event []byte) (state.Msg, bool, error) {
	return t.invoke.Message(ctx, target, bucketARN, account, event)
}

// CheckFunction tells whether a bucket may have the function as its target.
func (t *triggers) CheckFunction(ctx context.Context, functionARN, bucketARN, account string) error {
	may, err := t.authz.ServiceMayInvoke(ctx, "s3.amazonaws.com", functionARN, bucketARN, account)
	if err != nil {
		return err
	}
	if !may {
		return s3.ErrDestination
	}
	return nil
}

// executionRoles tells lambda which roles it may assume.
type executionRoles struct{ authz *authz.Authorizer }

func (e executionRoles) AssumableByLambda(ctx context.Context, roleARN string) error {
	return e.authz.Trusts(ctx, roleARN, "lambda.amazonaws.com")
}

// isRoleError tells invoke that an execution role could not be assumed.
func isRoleError(err error) bool {
	return errors.Is(err, iam.ErrNoRole) || errors.Is(err, iam.ErrNotTrusted)
}

// sessions gives execenv the credentials of execution roles.
type sessions struct{ iam *iam.Accounts }

func (s sessions) RoleSession(ctx context.Context, roleARN, name, functionARN string) (execenv.Credentials, error) {
	c, err := s.iam.FunctionSession(ctx, roleARN, name, functionARN)
	if err != nil {
		return execenv.Credentials{}, err
	}
	return execenv.Credentials{
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken, Expires: c.Expires,
	}, nil
}

// logPermissions tells logs what an execution role may write.
type logPermissions struct{ authz *authz.Authorizer }

func (l logPermissions) Allowed(ctx context.Context, roleARN, action, resource string) (bool, error) {
	d, err := l.authz.RoleAllowed(ctx, roleARN, action, resource, nil)
	return err == nil && d.Allowed, err
}

// codeBucket reads deployment packages that were uploaded to a bucket. The
// caller's right to read them is part of the operation's authorisation.
type codeBucket struct{ s3 *s3.Service }

func (c codeBucket) OpenObject(ctx context.Context, bucket, key, version string) (io.ReadCloser, error) {
	body, _, err := c.s3.Open(ctx, bucket, key, version)
	return body, err
}

// checkZip words what is wrong with a deployment package as Lambda does.
func checkZip(zip io.ReaderAt, size int64) (unzipped int64, err error) {
	unzipped, err = tree.Check(zip, size)
	switch {
	case err == nil:
		return unzipped, nil
	case errors.Is(err, tree.ErrEmpty):
		return 0, invalidParameter("Uploaded file must be a non-empty zip")
	case errors.Is(err, tree.ErrTooLarge):
		return 0, invalidParameter("Unzipped size must be smaller than 262144000 bytes")
	}
	return 0, invalidParameter("Could not unzip uploaded file. Please check your file, then try to upload again.")
}

// checkLayers words what is wrong with layers that pass checkZip each.
func checkLayers(zips []*io.SectionReader) error {
	err := tree.CheckTogether(zips)
	switch {
	case errors.Is(err, tree.ErrUnsafe):
		return invalidParameter("The layers cannot be used together: with another layer's files, a symbolic link would lead outside of /opt.")
	case errors.Is(err, tree.ErrTooLarge):
		return invalidParameter("The layers cannot be used together: they have too many files.")
	}
	return err
}

func invalidParameter(message string) error {
	return awsapi.Errorf(http.StatusBadRequest, "InvalidParameterValueException", "%s", message)
}

// door lets environments reach the gateway.
type door struct {
	ctx     context.Context
	gateway *gateway.Gateway
}

func (d *door) Serve(l net.Listener) error { return d.gateway.ServeInside(d.ctx, l) }
