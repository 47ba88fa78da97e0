package authz

import (
	"fmt"
	"strings"
)

// iamKinds are the resource types that are named by a member of the input, and
// how IAM calls them in messages; "" shows the ARN.
var iamKinds = []struct{ typ, member, shown string }{
	{"user", "UserName", "user "},
	{"role", "RoleName", "role "},
	{"group", "GroupName", "group "},
	{"instance-profile", "InstanceProfileName", "instance profile "},
	{"policy", "PolicyName", "policy "},
	{"server-certificate", "ServerCertificateName", "server certificate "},
	{"mfa", "VirtualMFADeviceName", ""},
}

// iamARNs are members that carry the ARN of what the operation works on.
var iamARNs = map[string][]string{
	"policy":             {"PolicyArn"},
	"oidc-provider":      {"OpenIDConnectProviderArn"},
	"saml-provider":      {"SAMLProviderArn"},
	"mfa":                {"SerialNumber"},
	"sms-mfa":            {"SerialNumber"},
	"delegation-request": {"DelegationRequestId"},
}

// iamResources returns the resources of an IAM action.
func (q *request) iamResources(a action) []resource {
	for _, m := range []string{"PolicySourceArn", "Arn"} {
		if whole := q.in.text(m); whole != "" {
			return []resource{{arn: whole}}
		}
	}
	types := a.required
	if len(types) == 0 {
		types = a.optional
	}
	if len(types) == 0 {
		return []resource{q.iamCollection()}
	}
	var out []resource
	for _, typ := range types {
		r, ok := q.iamResource(typ)
		if ok || len(a.required) > 0 {
			out = append(out, r)
		}
		if ok && len(a.required) == 0 {
			break
		}
	}
	if len(out) == 0 {
		return []resource{{arn: "*"}}
	}
	return out
}

// iamCollection is the resource of operations that list: the path that they
// list below.
func (q *request) iamCollection() resource {
	kinds := map[string]string{
		"ListUsers": "user", "ListRoles": "role", "ListGroups": "group", "ListInstanceProfiles": "instance-profile",
		"ListServerCertificates": "server-certificate", "ListVirtualMFADevices": "mfa",
		"GetAccountAuthorizationDetails": "", "ListPolicies": "policy",
	}
	kind, ok := kinds[q.operation]
	if !ok || kind == "" {
		return resource{arn: "*"}
	}
	path := q.in.text("PathPrefix")
	if path == "" {
		path = "/"
	}
	r := resource{arn: "arn:aws:iam::" + q.call.Account + ":" + kind + path}
	if kind == "policy" {
		r.shown = "policy path " + path
	}
	return r
}

// iamResource names one thing of the given type.
func (q *request) iamResource(typ string) (resource, bool) {
	for _, m := range iamARNs[typ] {
		if v := q.in.text(m); strings.HasPrefix(v, "arn:") {
			r := resource{arn: v}
			if typ == "policy" {
				r.shown = "policy " + v
			}
			return r, true
		}
	}
	base := "arn:aws:iam::" + q.call.Account + ":" + typ
	for _, k := range iamKinds {
		if k.typ != typ {
			continue
		}
		name := q.in.text(k.member)
		if name == "" && typ == "user" && (q.in.has("UserName") || q.operation == "ChangePassword") {
			// The caller's own user.
			if user := q.principal.ARN; strings.Contains(user, ":user/") {
				return resource{arn: user, shown: "user " + user[strings.LastIndexByte(user, '/')+1:]}, true
			}
			return resource{arn: base + "/*"}, false
		}
		if name == "" {
			break
		}
		if q.creates(typ) {
			r := resource{arn: base + pathOf(q.in.text("Path")) + name}
			if typ == "policy" {
				r.shown = "policy " + name
			}
			return r, true
		}
		r := resource{arn: base + "/" + name, shown: k.shown + name}
		if q.a.cfg.Entities != nil {
			if found, _ := q.entity(typ, name); found != "" {
				r.arn = found
			}
		}
		return r, true
	}
	switch typ {
	case "oidc-provider":
		if u := q.in.text("Url"); u != "" {
			return resource{arn: base + "/" + strings.TrimPrefix(u, "https://")}, true
		}
	case "role":
		if s := q.in.text("AWSServiceName"); s != "" {
			return resource{arn: base + "/aws-service-role/" + s + "/*"}, true
		}
	case "saml-provider":
		if n := q.in.text("Name"); n != "" {
			return resource{arn: base + "/" + n}, true
		}
	case "delegation-request":
		if id := q.in.text("DelegationRequestId"); id != "" {
			return resource{arn: base + "/" + id}, true
		}
	}
	return resource{arn: base + "/*"}, false
}

// creates reports whether the operation makes an entity of the type, whose
// path is then in the input.
func (q *request) creates(typ string) bool {
	if !q.in.has("Path") {
		return false
	}
	switch typ {
	case "server-certificate":
		return q.operation == "UploadServerCertificate"
	case "mfa":
		return q.operation == "CreateVirtualMFADevice"
	}
	return strings.HasPrefix(q.operation, "Create")
}

func pathOf(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// rename asks for the permission on what the entity becomes as well.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html
func rename(kind, newName string) func(*request) []need {
	return func(q *request) []need {
		out := q.own()
		name, path := q.in.text(newName), q.in.text("NewPath")
		if name == "" && path == "" || len(out) == 0 {
			return out
		}
		prefix := "arn:aws:iam::" + q.call.Account + ":" + kind
		old := strings.TrimPrefix(out[0].resource, prefix)
		slash := strings.LastIndexByte(old, '/')
		if name == "" {
			name = old[slash+1:]
		}
		if path == "" {
			path = old[:slash+1]
		}
		return append(out, need{action: out[0].action, resource: prefix + path + name})
	}
}

// addRoleToInstanceProfile passes the role to EC2.
func (q *request) addRoleToInstanceProfile() []need {
	out := q.own()
	if role := q.in.text("RoleName"); role != "" {
		r, _ := q.iamResource("role")
		out = append(out, passRole(r.arn, "ec2.amazonaws.com", ""))
	}
	return out
}

// assumeRole also tags the session and names its source where it is asked to.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (q *request) assumeRole() []need {
	role := q.in.text("RoleArn")
	out := []need{{action: "sts:AssumeRole", resource: role}}
	if q.in.present("Tags") {
		out = append(out, need{action: "sts:TagSession", resource: role})
	}
	if q.in.text("SourceIdentity") != "" {
		out = append(out, need{action: "sts:SetSourceIdentity", resource: role})
	}
	return out
}

// boundaryOf returns iam:PermissionsBoundary: the one that the request sets,
// else that of the user or role that it changes.
func (q *request) boundaryOf() []string {
	if b := q.in.text("PermissionsBoundary"); b != "" {
		return []string{b}
	}
	if q.a.cfg.Entities == nil || strings.HasPrefix(q.operation, "Create") {
		return nil
	}
	for _, k := range iamKinds[:2] {
		if name := q.in.text(k.member); name != "" {
			if _, boundary := q.entity(k.typ, name); boundary != "" {
				return []string{boundary}
			}
		}
	}
	return nil
}

// entity looks an IAM entity up. A failure fails the request: without the
// answer a condition could be missed.
func (q *request) entity(kind, name string) (arn, boundary string) {
	switch kind {
	case "user", "role", "group", "instance-profile":
	default:
		return "", ""
	}
	arn, boundary, err := q.a.cfg.Entities.Entity(q.ctx, q.call.Account, kind, name)
	if err != nil {
		q.failed = fmt.Errorf("find %s %s: %w", kind, name, err)
	}
	return arn, boundary
}
