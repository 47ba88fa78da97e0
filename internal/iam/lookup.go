package iam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"davy/internal/arn"
	"davy/internal/awsapi"
	"davy/internal/policy"
	"davy/internal/sigv4"
)

var _ sigv4.KeyLookup = (*Service)(nil)

// Lookup finds the secret of an access key and whose it is: Credential's
// Principal is an awsapi.Principal. It does no I/O.
func (s *Service) Lookup(_ context.Context, accessKeyID, sessionToken string) (sigv4.Credential, error) {
	now := s.snap.Load()
	if sessionToken == "" {
		k, ok := now.keys[accessKeyID]
		if !ok || !k.Active {
			return sigv4.Credential{}, sigv4.ErrUnknownKey
		}
		return sigv4.Credential{SecretAccessKey: k.Secret, Principal: now.principal(k.owner, accessKeyID)}, nil
	}
	ss := s.sessions.get(accessKeyID, &sessionToken)
	if ss == nil {
		var err error
		if ss, err = unseal(now.account.SessionKey, accessKeyID, sessionToken); errors.Is(err, errToken) {
			return sigv4.Credential{}, sigv4.ErrInvalidToken
		} else if err != nil {
			return sigv4.Credential{}, err
		}
		s.sessions.add(accessKeyID, sessionToken, ss)
	}
	if s.clock().Unix() >= ss.Expires {
		return sigv4.Credential{}, sigv4.ErrExpiredToken
	}
	if ss.Federated && (ss.Of == "" || now.byID[ss.Of] != nil) {
		return sigv4.Credential{SecretAccessKey: ss.Secret, Principal: now.federated(ss, accessKeyID)}, nil
	}
	if ss.Of == "" {
		return sigv4.Credential{SecretAccessKey: ss.Secret, Principal: now.principal(nil, accessKeyID)}, nil
	}
	r := now.byID[ss.Of]
	if r == nil { // the user or role was deleted, and its sessions with it
		return sigv4.Credential{}, sigv4.ErrInvalidToken
	}
	p := now.principal(r, accessKeyID)
	if r.Kind == roleKind {
		p.ARN = arn.New("sts", "", p.Account, "assumed-role/"+r.Name+"/"+ss.Name).String()
		p.UserID = r.ID + ":" + ss.Name
	}
	return sigv4.Credential{SecretAccessKey: ss.Secret, Principal: p}, nil
}

// principal is a user or, r nil, root.
func (s *snapshot) principal(r *record, accessKeyID string) awsapi.Principal {
	if r == nil {
		return awsapi.Principal{ARN: s.account.rootARN(), UserID: s.account.Account, Account: s.account.Account, AccessID: accessKeyID}
	}
	return awsapi.Principal{ARN: r.arn(s.account.Account), UserID: r.ID, Account: s.account.Account, AccessID: accessKeyID}
}

// ErrUnknownPrincipal is returned for a principal that Lookup has not given,
// or that is gone by now.
var ErrUnknownPrincipal = errors.New("iam: unknown principal")

// Grants returns what is attached to a principal that Lookup has returned: its
// policies and those of its groups or role, boundary, tags, and what belongs
// to the session. The parts are shared and must not be changed.
func (s *Service) Grants(_ context.Context, p awsapi.Principal) (policy.Grants, error) {
	now := s.snap.Load()
	id := p.UserID
	var ss *session
	if _, longTerm := now.keys[p.AccessID]; !longTerm {
		if ss = s.sessions.get(p.AccessID, nil); ss == nil {
			return policy.Grants{}, fmt.Errorf("%w: no session %s", ErrUnknownPrincipal, p.AccessID)
		}
		id = ss.Of
		// Ids have 39 random bits: another session of the account may have
		// taken this one's place in memory.
		if ss.Federated && p.UserID != now.federated(ss, "").UserID || !ss.Federated && ss.Name != "" && p.UserID != id+":"+ss.Name {
			return policy.Grants{}, fmt.Errorf("%w: no session %s of %s", ErrUnknownPrincipal, p.AccessID, p.ARN)
		}
	}
	var g policy.Grants
	if r := now.byID[id]; r != nil {
		attached, err := now.grantsOf(r)
		if err != nil {
			return g, err
		}
		g = *attached
	} else if p.ARN != now.account.rootARN() && (ss == nil || !ss.Federated || ss.Of != "") {
		return g, fmt.Errorf("%w: %s", ErrUnknownPrincipal, p.ARN)
	}
	if ss == nil {
		return g, nil
	}
	return g, now.addSession(&g, ss)
}

// addSession adds to g what the session's token carries.
func (s *snapshot) addSession(g *policy.Grants, ss *session) error {
	g.More = ss.more
	switch {
	case ss.Federated:
		g.Identity = append(g.Identity[:len(g.Identity):len(g.Identity)], noIAM)
		if ss.Of == "" {
			g.Identity = append(g.Identity, everything)
		}
		if len(ss.docs)+len(ss.ARNs) == 0 {
			// Without policies it may do what resource policies allow it.
			g.Session = []policy.Attached{{Name: "no session policy"}}
		}
	case g.RoleID == "":
		// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html:
		// without MFA such credentials call no IAM operation.
		g.Identity = append(g.Identity[:len(g.Identity):len(g.Identity)], noIAM)
		return nil
	}
	g.Session = append(g.Session, ss.docs...)
	for _, a := range ss.ARNs {
		p, err := s.attached(a)
		if err != nil {
			return err
		}
		if p == nil {
			// A session policy that is gone still limits: to nothing.
			p = &policy.Attached{ARN: a}
		}
		g.Session = append(g.Session[:len(g.Session):len(g.Session)], *p)
	}
	if len(ss.Tags) > 0 {
		tags := make(map[string]string, len(g.Tags)+len(ss.Tags))
		maps.Copy(tags, ss.Tags)
		for k, v := range g.Tags { // the session's win, whatever their case
			if !ss.hasTag(k) {
				tags[k] = v
			}
		}
		g.Tags = tags
	}
	return nil
}

// noIAM is what credentials of GetSessionToken may not do.
var noIAM = builtIn("temporary credentials of a user", `{"Effect":"Deny","Action":"iam:*","Resource":"*"}`)

// everything is what the root user's federated users may do, as far as their
// session policies allow it.
var everything = builtIn("root user", `{"Effect":"Allow","Action":"*","Resource":"*"}`)

func builtIn(name, statement string) policy.Attached {
	doc, err := policy.Parse(`{"Version":"2012-10-17","Statement":`+statement+`}`, policy.Identity)
	if err != nil {
		panic(err)
	}
	return policy.Attached{Name: name, Document: doc}
}

// RoleGrants returns what is attached to a role, as a session without session
// policy has it. The error is ErrNoRole for a role that does not exist.
func (s *Service) RoleGrants(_ context.Context, roleARN string) (policy.Grants, error) {
	now := s.snap.Load()
	r := now.role(roleARN)
	if r == nil {
		return policy.Grants{}, ErrNoRole
	}
	g, err := now.grantsOf(r)
	if err != nil {
		return policy.Grants{}, err
	}
	return *g, nil
}

const (
	lambdaService = "lambda.amazonaws.com"
	// lambdaSession is how long a function's credentials last.
	lambdaSession = 12 * time.Hour
)

// ErrNotTrusted is returned when a role's trust policy does not let the
// service assume it.
var ErrNotTrusted = errors.New("iam: the role does not trust the service")

// Trusts reports, as ErrNoRole or ErrNotTrusted, that a service may not assume
// a role. service is a principal such as lambda.amazonaws.com.
func (s *Service) Trusts(_ context.Context, roleARN, service string) error {
	now := s.snap.Load()
	r := now.role(roleARN)
	if r == nil {
		return ErrNoRole
	}
	d := policy.Decide(&policy.Request{
		Principal: policy.Principal{Service: service}, Action: "sts:AssumeRole", Resource: roleARN, Owner: now.account.Account,
		Context: policy.Values{
			"aws:sourceaccount":         {now.account.Account},
			"aws:principalisawsservice": {"true"},
			"aws:principalservicename":  {service},
			"aws:currenttime":           {s.now().Format(time.RFC3339)},
			"aws:securetransport":       {"true"},
		},
		ResourcePolicy: &policy.Attached{Name: "trust policy of " + roleARN, Document: r.trust}, Trust: true,
	})
	if !d.Allowed {
		return ErrNotTrusted
	}
	return nil
}

// RoleSession is FunctionSession for no function in particular.
func (s *Service) RoleSession(ctx context.Context, roleARN, sessionName string) (SessionCredentials, error) {
	return s.FunctionSession(ctx, roleARN, sessionName, "")
}

// FunctionSession returns credentials of a role, which must trust the Lambda
// service, for a function, which is the session's lambda:SourceFunctionArn.
// The session lasts twelve hours and is named by sessionName.
// https://docs.aws.amazon.com/lambda/latest/dg/permissions-source-function-arn.html
func (s *Service) FunctionSession(ctx context.Context, roleARN, sessionName, functionARN string) (SessionCredentials, error) {
	if err := s.Trusts(ctx, roleARN, lambdaService); err != nil {
		return SessionCredentials{}, err
	}
	r := s.snap.Load().role(roleARN)
	if r == nil {
		return SessionCredentials{}, ErrNoRole
	}
	ss := &session{Of: r.ID, Name: sessionName}
	if functionARN != "" {
		ss.Claims = map[string]string{"lambda:sourcefunctionarn": functionARN}
	}
	c, err := s.open(ss, lambdaSession)
	if err != nil {
		return SessionCredentials{}, err
	}
	return *c, nil
}
