package iam

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"davy/api/stsapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
)

// clockSkew is what a token's times may be off by.
const clockSkew = 5 * time.Minute

func invalidToken(message string) error {
	return &stsapi.InvalidIdentityTokenException{Message: &message}
}

// AssumeRoleWithWebIdentity gives temporary credentials of a role to the
// bearer of a token of an OIDC provider that the role's account has.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
func (s *sts) AssumeRoleWithWebIdentity(ctx context.Context, in *stsapi.AssumeRoleWithWebIdentityRequest) (*stsapi.AssumeRoleWithWebIdentityResponse, error) {
	roleARN := awsapi.Val(in.RoleArn)
	if in.ProviderId != nil {
		return nil, awsapi.NotImplemented("AssumeRoleWithWebIdentity with the OAuth 2.0 provider " + *in.ProviderId)
	}
	token, err := readWebToken(awsapi.Val(in.WebIdentityToken))
	if err != nil {
		return nil, invalidToken("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
	}
	refused := accessDenied("Not authorized to perform sts:AssumeRoleWithWebIdentity")
	home := s.peers.ofARN(roleARN)
	if home == nil {
		return nil, refused
	}
	now := home.snap.Load()
	provider, issuer := now.provider(token.claims.Issuer)
	if provider == nil {
		return nil, invalidToken("No OpenIDConnect provider found in your account for " + token.claims.Issuer)
	}
	audience, err := home.checkToken(ctx, provider, token)
	if err != nil {
		return nil, err
	}

	providerARN := provider.arn(now.account.Account)
	role := now.role(roleARN)
	if role == nil {
		return nil, refused
	}
	ss := &session{Of: role.ID, Name: awsapi.Val(in.RoleSessionName), Source: token.claims.Source, Claims: token.claims.keys(issuer, audience)}
	if err := ss.tagFromToken(&token.claims); err != nil {
		return nil, err
	}
	r := policy.Request{
		Principal: policy.Principal{Federated: providerARN}, Resource: roleARN, Owner: now.account.Account,
		Context:        ss.webContext(awsapi.CallFrom(ctx), role, issuer, token.claims.AMR),
		ResourcePolicy: &policy.Attached{Name: "trust policy of " + roleARN, Document: role.trust}, Trust: true,
	}
	actions := []string{"sts:AssumeRoleWithWebIdentity"}
	if len(ss.Tags) > 0 {
		actions = append(actions, "sts:TagSession")
	}
	if ss.Source != "" {
		actions = append(actions, "sts:SetSourceIdentity")
	}
	for _, r.Action = range actions {
		if d := policy.Decide(&r); !d.Allowed {
			return nil, accessDenied("Not authorized to perform %s", r.Action)
		}
	}

	d := time.Duration(defaultMaxSession) * time.Second
	if in.DurationSeconds != nil {
		d = time.Duration(*in.DurationSeconds) * time.Second
	}
	if d > time.Duration(role.MaxSession)*time.Second {
		return nil, tooLong()
	}
	packed, err := ss.restrict(now, in.Policy, in.PolicyArns)
	if err != nil {
		return nil, err
	}
	ss.Claims["aws:federatedprovider"] = providerARN
	c, err := home.open(ss, d)
	if err != nil {
		return nil, err
	}
	out := &stsapi.AssumeRoleWithWebIdentityResponse{
		Credentials: c.wire(), PackedPolicySize: packed, AssumedRoleUser: now.assumed(role, ss),
		Audience: &audience, Provider: &providerARN, SubjectFromWebIdentityToken: new(token.claims.Subject),
	}
	if ss.Source != "" {
		out.SourceIdentity = &ss.Source
	}
	return out, nil
}

// provider finds the OIDC provider of an issuer's URL, whatever slash ends it.
// issuer is what condition keys have before the colon.
func (s *snapshot) provider(issuerURL string) (r *record, issuer string) {
	scheme, issuer, ok := strings.Cut(issuerURL, "://")
	host, _, _ := strings.Cut(issuer, "/")
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if !ok || scheme != "https" && (scheme != "http" || !loopback(strings.Trim(host, "[]"))) {
		return nil, ""
	}
	for _, name := range []string{issuer, strings.TrimSuffix(issuer, "/"), issuer + "/"} {
		if r := s.find(providerKind, name); r != nil {
			return r, r.Name
		}
	}
	return nil, ""
}

// checkToken checks what makes a token good here: its signature, its time,
// and that it is meant for one of the provider's clients, which it returns.
func (s *Service) checkToken(ctx context.Context, provider *record, t *webToken) (audience string, err error) {
	at := s.clock()
	audience = t.claims.Party
	if audience == "" && len(t.claims.Audience) > 0 {
		audience = t.claims.Audience[0]
	}
	if !slices.Contains(provider.ClientIDs, audience) {
		if i := slices.IndexFunc(t.claims.Audience, func(a string) bool { return slices.Contains(provider.ClientIDs, a) }); t.claims.Party == "" && i >= 0 {
			audience = t.claims.Audience[i]
		} else {
			return "", invalidToken("Incorrect token audience")
		}
	}
	key, err := s.peers.fetch.find(ctx, t.claims.Issuer, t.header.Kid, provider.Thumbprints)
	switch {
	case errors.Is(err, errProvider):
		return "", &stsapi.IDPCommunicationErrorException{Message: new("Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements: " + err.Error())}
	case err != nil:
		return "", err
	case key == nil:
		return "", invalidToken("Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity documentation for requirements")
	case !t.signedBy(key):
		return "", invalidToken("The token's signature is not valid.")
	}
	expires, has := seconds(t.claims.Expires)
	if !has {
		return "", invalidToken("Missing a required claim: exp")
	}
	issued, has := seconds(t.claims.IssuedAt)
	if !has {
		return "", invalidToken("Missing a required claim: iat")
	}
	if at.Unix() >= expires {
		return "", &stsapi.ExpiredTokenException{Message: new("Token expired: current date/time " + strconv.FormatInt(at.Unix(), 10) +
			" must be before the expiration date/time " + strconv.FormatInt(expires, 10))}
	}
	notBefore, _ := seconds(t.claims.NotBefore)
	if limit := at.Add(clockSkew).Unix(); notBefore > limit || issued > limit {
		return "", invalidToken("The token is not valid yet.")
	}
	return audience, nil
}

// keys are the condition keys that a token gives, which the session keeps.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#condition-keys-wif
func (c *webClaims) keys(issuer, audience string) map[string]string {
	issuer = strings.ToLower(issuer)
	out := map[string]string{issuer + ":aud": audience, issuer + ":sub": c.Subject}
	if c.Party != "" && len(c.Audience) > 0 {
		out[issuer+":oaud"] = c.Audience[0]
	}
	if len(c.AMR) > 0 {
		out[issuer+":amr"] = c.AMR[0]
	}
	return out
}

// tagFromToken takes session tags from the token's claims.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html
func (ss *session) tagFromToken(c *webClaims) error {
	if len(c.Tags.Principal) > maxTags {
		return invalidToken("A token has at most " + strconv.Itoa(maxTags) + " tags.")
	}
	for k, v := range c.Tags.Principal {
		switch {
		case ss.hasTag(k):
			return invalidParameter("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		case len(v) != 1 || k == "" || len(k) > 128 || len(v[0]) > 256 || strings.HasPrefix(strings.ToLower(k), "aws:"):
			return invalidToken("The token has a tag that is not valid.")
		}
		if ss.Tags == nil {
			ss.Tags = map[string]string{}
		}
		ss.Tags[k] = v[0]
	}
	for _, k := range c.Tags.Transitive {
		if !ss.hasTag(k) {
			return invalidParameter("One of the specified transitive tag keys does not exist in the requested tags.")
		}
	}
	ss.Transitive = c.Tags.Transitive
	if len(ss.Source) == 1 || len(ss.Source) > 64 {
		return invalidToken("The token's source identity is not valid.")
	}
	return nil
}

// webContext has the condition keys of the request.
func (ss *session) webContext(call *awsapi.Call, role *record, issuer string, amr []string) policy.Values {
	v := callContext(call)
	v["sts:rolesessionname"] = []string{ss.Name}
	for k, value := range ss.Claims {
		v[k] = []string{value}
	}
	for k, value := range ss.Tags {
		v[lower("aws:requesttag/", k)] = []string{value}
		v["aws:tagkeys"] = append(v["aws:tagkeys"], k)
	}
	if len(ss.Transitive) > 0 {
		v["sts:transitivetagkeys"] = ss.Transitive
	}
	if ss.Source != "" {
		v["sts:sourceidentity"] = []string{ss.Source}
	}
	for k, value := range role.tagMap() {
		v[lower("aws:resourcetag/", k)] = []string{value}
		v[lower("iam:resourcetag/", k)] = []string{value}
	}
	if len(amr) > 0 {
		v[lower("", issuer)+":amr"] = amr
	}
	return v
}

// callContext has the condition keys that every request has.
func callContext(call *awsapi.Call) policy.Values {
	at := call.Time.UTC()
	v := policy.Values{
		"aws:currenttime":     {at.Format(time.RFC3339)},
		"aws:epochtime":       {strconv.FormatInt(at.Unix(), 10)},
		"aws:securetransport": {strconv.FormatBool(call.Secure)},
		"aws:viaawsservice":   {"false"},
	}
	if call.Region != "" {
		v["aws:requestedregion"] = []string{call.Region}
	}
	if call.SourceIP != "" {
		v["aws:sourceip"] = []string{call.SourceIP}
	}
	if call.Request != nil {
		if ua := call.Request.UserAgent(); ua != "" {
			v["aws:useragent"] = []string{ua}
		}
		if ref := call.Request.Referer(); ref != "" {
			v["aws:referer"] = []string{ref}
		}
	}
	return v
}

// assumed names a session of a role.
func (s *snapshot) assumed(role *record, ss *session) *stsapi.AssumedRoleUser {
	return &stsapi.AssumedRoleUser{
		Arn:           new(arn.New("sts", "", s.account.Account, "assumed-role/"+role.Name+"/"+ss.Name).String()),
		AssumedRoleId: new(role.ID + ":" + ss.Name),
	}
}

func tooLong() error {
	return validationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
}
