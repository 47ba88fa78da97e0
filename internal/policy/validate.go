package policy

import (
	"fmt"
	"strings"
)

func foldedEffect(s string) bool {
	return strings.EqualFold(s, "Allow") || strings.EqualFold(s, "Deny")
}

// validate checks the contents for the document's use, in the order in which
// IAM reports them. The answer is empty when the document is good.
func (d *rawDocument) validate(kind Kind) string {
	switch kind {
	case Resource:
		return d.validateEach(validateResourceStatement)
	case Trust:
		return d.validateEach(validateTrustStatement)
	}
	return d.validateIdentity(kind)
}

func (d *rawDocument) validateEach(check func(*rawStatement) string) string {
	for i := range d.statements {
		s := &d.statements[i]
		if s.effect != "Allow" && s.effect != "Deny" {
			return "Invalid effect: " + s.effect
		}
		if reason := check(s); reason != "" {
			return reason
		}
	}
	return ""
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
func (d *rawDocument) validateIdentity(kind Kind) string {
	for i := range d.statements {
		s := &d.statements[i]
		if s.principal != nil || s.notPrincipal != nil {
			return "Policy document should not specify a principal."
		}
		for _, c := range s.conditions {
			if _, ok := compileCondition(c.operator, c.key, nil, false); !ok {
				return syntaxErrors
			}
		}
	}
	if kind == Managed && d.version != Version2012 {
		return "Policy document must be version 2012-10-17 or greater."
	}
	for i := range d.statements {
		s := &d.statements[i]
		if s.effect != "Allow" && s.effect != "Deny" {
			return legacyParsing
		}
		for _, c := range s.conditions {
			if _, ok := compileCondition(c.operator, c.key, c.values, false); !ok {
				return legacyParsing
			}
		}
	}
	if reason := d.validateSIDs(); reason != "" {
		return reason
	}
	for i := range d.statements {
		if len(d.statements[i].allActions()) == 0 {
			return "Policy statement must contain actions."
		}
	}
	for i := range d.statements {
		if len(d.statements[i].allResources()) == 0 {
			return "Policy statement must contain resources."
		}
	}
	for i := range d.statements {
		for _, r := range d.statements[i].allResources() {
			if reason := identityResource(r); reason != "" {
				return reason
			}
		}
	}
	for i := range d.statements {
		s := &d.statements[i]
		for _, a := range s.allActions() {
			if reason := identityAction(a); reason != "" {
				return reason
			}
		}
		for _, c := range s.conditions {
			if !strings.Contains(c.key, ":") {
				return vendorRequired
			}
		}
	}
	return ""
}

func (d *rawDocument) validateSIDs() string {
	seen := map[string]bool{}
	for i := range d.statements {
		sid := d.statements[i].sid
		if seen[sid] && sid != "" {
			return "Statement IDs (SID) in a single policy must be unique."
		}
		seen[sid] = true
	}
	for sid := range seen {
		for i := range len(sid) {
			if !alphanumeric(sid[i]) {
				return "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
			}
		}
	}
	return ""
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (r *rawStatement) allActions() []string   { return either(r.action, r.notAction) }
func (r *rawStatement) allResources() []string { return either(r.resource, r.notResource) }

func either(a, b *[]string) []string {
	if a == nil {
		a = b
	}
	if a == nil {
		return nil
	}
	return *a
}

func identityAction(a string) string {
	if a == "*" {
		return ""
	}
	vendor, name, ok := strings.Cut(a, ":")
	if !ok {
		return vendorRequired
	}
	if strings.Contains(name, ":") {
		return "Actions/Condition can contain only one colon."
	}
	if vendor == "*" {
		return ""
	}
	for i := range len(vendor) {
		if c := vendor[i]; !alphanumeric(c) && c != '-' && c != '.' {
			return fmt.Sprintf("Vendor %s is not valid", vendor)
		}
	}
	if vendor == "" {
		return "Vendor  is not valid"
	}
	return ""
}

// iamPaths are what an IAM resource may start with.
var iamPaths = []string{
	"user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/",
	"policy/", "sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/",
}

// identityResource checks one Resource value of an identity policy.
func identityResource(r string) string {
	if r == "*" {
		return ""
	}
	if !strings.Contains(r, ":") {
		return fmt.Sprintf("Resource %s must be in ARN format or \"*\".", r)
	}
	part := strings.SplitN(r, ":", 6)
	if len(part) > 1 && part[1] != "aws" {
		rest := []string{"*", "*", "*", "*"}
		for i := range rest {
			if 2+i < len(part) && (part[2+i] != "" || len(part) > 3) {
				rest[i] = part[2+i]
			}
		}
		return fmt.Sprintf("Partition \"%s\" is not valid for resource \"arn:%s:%s\".", part[1], part[1], strings.Join(rest, ":"))
	}
	if len(part) < 3 {
		return "Resource vendor must be fully qualified and cannot contain regexes."
	}
	service := part[2]
	if strings.ContainsAny(service, "*?") && len(part) > 3 {
		return "Resource vendor must be fully qualified and cannot contain regexes."
	}
	if len(part) > 3 && part[3] != "" && part[3] != "*" {
		if service == "iam" {
			return fmt.Sprintf("IAM resource %s cannot contain region information.", r)
		}
		if service == "s3" && len(part) > 4 && part[4] == "" {
			return fmt.Sprintf("Resource %s can not contain region information.", r)
		}
	}
	if part[0] != "arn" {
		return legacyParsing
	}
	if len(part) < 6 {
		// A * that ends the last segment stands for the rest.
		if strings.HasSuffix(r, "*") {
			return ""
		}
		return legacyParsing
	}
	if service == "iam" && part[5] != "*" && !strings.HasPrefix(part[5], "*") {
		for _, p := range iamPaths {
			if strings.HasPrefix(part[5], p) {
				return ""
			}
		}
		if i := strings.IndexAny(part[5], "*?$"); i >= 0 {
			return "" // a wildcard or variable may complete the prefix
		}
		return fmt.Sprintf("IAM resource path must either be \"*\" or start with %s.", strings.Join(iamPaths, ", "))
	}
	return ""
}

// validateResourceStatement checks a statement of a bucket's, function's or
// layer's policy. The texts are S3's; other services map them.
func validateResourceStatement(s *rawStatement) string {
	switch {
	case s.principal == nil && s.notPrincipal == nil:
		return "Missing required field Principal"
	case s.effect == "Allow" && s.notPrincipal != nil:
		return "Allow with NotPrincipal is not allowed."
	case s.action == nil && s.notAction == nil:
		return "Missing required field Action"
	case s.resource == nil && s.notResource == nil:
		return "Missing required field Resource"
	case len(s.allActions()) == 0:
		return "Policy has invalid action"
	case len(s.allResources()) == 0:
		return "Policy has invalid resource"
	}
	for _, a := range s.allActions() {
		if identityAction(a) != "" {
			return "Policy has invalid action"
		}
	}
	for _, r := range s.allResources() {
		if r != "*" && (len(strings.SplitN(r, ":", 6)) != 6 || !strings.HasPrefix(r, "arn:aws:")) && !strings.HasSuffix(r, "*") {
			return "Policy has invalid resource"
		}
	}
	for _, c := range s.conditions {
		if _, ok := compileCondition(c.operator, c.key, nil, false); !ok {
			return "Invalid Condition type : " + c.operator
		}
		if !strings.Contains(c.key, ":") {
			return "Policy has an invalid condition key"
		}
	}
	return ""
}

// validateTrustStatement checks a statement of a role's trust policy.
func validateTrustStatement(s *rawStatement) string {
	switch {
	case s.resource != nil:
		return "Has prohibited field Resource"
	case s.notResource != nil:
		return "Has prohibited field NotResource"
	case s.notPrincipal != nil && s.effect == "Allow":
		return "Allow with NotPrincipal is not allowed."
	case s.principal == nil && s.notPrincipal == nil:
		return "Missing required field Principal"
	case len(s.allActions()) == 0:
		return "Missing required field Action"
	}
	for _, a := range s.allActions() {
		if !strings.HasPrefix(strings.ToLower(a), "sts:") {
			return "AssumeRole policy may only specify STS AssumeRole actions."
		}
	}
	for _, c := range s.conditions {
		if _, ok := compileCondition(c.operator, c.key, nil, false); !ok {
			return "Invalid Condition type : " + c.operator
		}
		if !strings.Contains(c.key, ":") {
			return vendorRequired
		}
	}
	return ""
}

// read compiles a Principal or NotPrincipal element.
func (ps *principals) read(n *node, kind Kind) string {
	invalid := func(typ, value string) string {
		if kind == Trust {
			return fmt.Sprintf("Invalid principal in policy: \"%s\":\"%s\"", typ, value)
		}
		return "Invalid principal in policy"
	}
	if n.kind == textNode && n.str {
		if n.text != "*" {
			return invalid("AWS", n.text)
		}
		if kind == Trust {
			return "AssumeRolepolicy contained an invalid principal: \"STAR\":\"*\"."
		}
		ps.everyone = true
		return ""
	}
	if n.kind != objectNode || len(n.members) == 0 {
		return invalid("", "")
	}
	for i := range n.members {
		m := &n.members[i]
		values, ok := m.value.list(false)
		if !ok || len(values) == 0 {
			return invalid(strings.ToUpper(m.name), m.value.text)
		}
		for _, v := range values {
			if !ps.add(m.name, v) {
				return invalid(strings.ToUpper(m.name), v)
			}
		}
	}
	return ""
}

func (ps *principals) add(typ, v string) bool {
	switch typ {
	case "AWS":
		return ps.addAWS(v)
	case "Service":
		if !strings.Contains(v, ".") || strings.ContainsAny(v, "*? /:") {
			return false
		}
		ps.services = append(ps.services, v)
	case "Federated":
		if v == "" || strings.ContainsAny(v, "*? ") {
			return false
		}
		ps.federated = append(ps.federated, v)
	case "CanonicalUser":
		// Davy knows accounts by their id only: a canonical id names nobody.
		return false
	default:
		return false
	}
	return true
}
