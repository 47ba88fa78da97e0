package iam

import (
	"context"
	"net/http"
	"strings"
	"time"

	"davy/api/stsapi"
	"davy/internal/awsapi"
)

// STS returns the STS API on the directory.
func (s *Service) STS() stsapi.API { return &sts{Service: s} }

type sts struct {
	stsapi.Unimplemented
	*Service
}

func (c *SessionCredentials) wire() *stsapi.Credentials {
	return &stsapi.Credentials{AccessKeyId: &c.AccessKeyID, SecretAccessKey: &c.SecretAccessKey, SessionToken: &c.SessionToken, Expiration: &c.Expires}
}

func accessDenied(format string, args ...any) error {
	return awsapi.Errorf(http.StatusForbidden, "AccessDenied", format, args...)
}

// GetCallerIdentity tells a caller who it is.
func (s *sts) GetCallerIdentity(ctx context.Context, _ *stsapi.GetCallerIdentityRequest) (*stsapi.GetCallerIdentityResponse, error) {
	p := awsapi.CallFrom(ctx).Principal
	return &stsapi.GetCallerIdentityResponse{Account: &p.Account, Arn: &p.ARN, UserId: &p.UserID}, nil
}

// GetAccessKeyInfo tells whose account a key is of: that of a long-term key
// that exists, and of a session's that was made here, whether it lasts or not.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html
func (s *sts) GetAccessKeyInfo(_ context.Context, in *stsapi.GetAccessKeyInfoRequest) (*stsapi.GetAccessKeyInfoResponse, error) {
	id := awsapi.Val(in.AccessKeyId)
	if owner := s.peers.owner(id); owner != nil {
		return &stsapi.GetAccessKeyInfoResponse{Account: new(owner.Account())}, nil
	}
	return nil, validationError("The access key %s is not known here.", id)
}

// GetSessionToken gives temporary credentials for a user's or root's own
// long-term ones.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html
func (s *sts) GetSessionToken(ctx context.Context, in *stsapi.GetSessionTokenRequest) (*stsapi.GetSessionTokenResponse, error) {
	now := s.snap.Load()
	p := awsapi.CallFrom(ctx).Principal
	k, longTerm := now.keys[p.AccessID]
	if !longTerm {
		return nil, accessDenied("Cannot call GetSessionToken with session credentials")
	}
	if in.SerialNumber != nil || in.TokenCode != nil {
		return nil, awsapi.Errorf(http.StatusNotImplemented, "NotImplemented", "MFA devices are not implemented.")
	}
	d, ss := 12*time.Hour, &session{}
	if k.owner == nil {
		d = time.Hour
	} else {
		ss.Of = k.owner.ID
	}
	if in.DurationSeconds != nil {
		asked := time.Duration(*in.DurationSeconds) * time.Second
		if k.owner != nil || asked < d {
			d = asked // root's are capped at an hour
		}
	}
	c, err := s.open(ss, d)
	if err != nil {
		return nil, err
	}
	return &stsapi.GetSessionTokenResponse{Credentials: c.wire()}, nil
}

// AssumeRole gives temporary credentials of a role that trusts the caller.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (s *sts) AssumeRole(ctx context.Context, in *stsapi.AssumeRoleRequest) (*stsapi.AssumeRoleResponse, error) {
	now := s.snap.Load()
	a, err := now.assume(s.Service, ctx, in)
	if err != nil {
		return nil, err
	}
	d := time.Duration(defaultMaxSession) * time.Second
	if in.DurationSeconds != nil {
		d = time.Duration(*in.DurationSeconds) * time.Second
	}
	switch {
	case a.chained && d > time.Hour:
		return nil, validationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case d > time.Duration(a.role.MaxSession)*time.Second:
		return nil, tooLong()
	}
	ss := &session{Of: a.role.ID, Name: awsapi.Val(in.RoleSessionName), Tags: a.tags, Transitive: a.transitive, Source: a.source}
	packed, err := ss.restrict(a.now, in.Policy, in.PolicyArns)
	if err != nil {
		return nil, err
	}
	c, err := a.home.open(ss, d)
	if err != nil {
		return nil, err
	}
	out := &stsapi.AssumeRoleResponse{Credentials: c.wire(), PackedPolicySize: packed, AssumedRoleUser: a.now.assumed(a.role, ss)}
	if ss.Source != "" {
		out.SourceIdentity = &ss.Source
	}
	return out, nil
}

// callerSession returns the session that p has; nil: p signs with a long-term
// key.
func (s *Service) callerSession(now *snapshot, p awsapi.Principal) (*session, error) {
	if _, longTerm := now.keys[p.AccessID]; longTerm {
		return nil, nil
	}
	if ss := s.sessions.get(p.AccessID, nil); ss != nil {
		return ss, nil
	}
	return nil, accessDenied("The session %s is not known.", p.AccessID)
}

// lower puts the keys of context values into the case that policies ask in.
func lower(prefix, key string) string { return prefix + strings.ToLower(key) }
