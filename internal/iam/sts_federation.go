package iam

import (
	"context"
	"time"

	"davy/api/stsapi"
	"davy/internal/arn"
	"davy/internal/awsapi"
)

// GetFederationToken gives temporary credentials to somebody whom the calling
// user answers for: they may do what both the user's policies and the policies
// passed here allow.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html
func (s *sts) GetFederationToken(ctx context.Context, in *stsapi.GetFederationTokenRequest) (*stsapi.GetFederationTokenResponse, error) {
	now := s.snap.Load()
	k, longTerm := now.keys[awsapi.CallFrom(ctx).Principal.AccessID]
	if !longTerm {
		return nil, accessDenied("Cannot call GetFederationToken with session credentials")
	}
	d, ss := 12*time.Hour, &session{Federated: true, Name: awsapi.Val(in.Name)}
	if in.DurationSeconds != nil {
		d = time.Duration(*in.DurationSeconds) * time.Second
	}
	if k.owner != nil {
		ss.Of = k.owner.ID
	} else {
		d = min(d, time.Hour)
	}
	var err error
	if ss.Tags, err = sessionTags(in.Tags); err != nil {
		return nil, err
	}
	packed, err := ss.restrict(now, in.Policy, in.PolicyArns)
	if err != nil {
		return nil, err
	}
	c, err := s.open(ss, d)
	if err != nil {
		return nil, err
	}
	p := now.federated(ss, "")
	return &stsapi.GetFederationTokenResponse{
		Credentials: c.wire(), PackedPolicySize: packed,
		FederatedUser: &stsapi.FederatedUser{Arn: &p.ARN, FederatedUserId: &p.UserID},
	}, nil
}

// federated is the principal of a session of GetFederationToken.
func (s *snapshot) federated(ss *session, accessKeyID string) awsapi.Principal {
	account := s.account.Account
	return awsapi.Principal{
		ARN: arn.New("sts", "", account, "federated-user/"+ss.Name).String(), UserID: account + ":" + ss.Name,
		Account: account, AccessID: accessKeyID,
	}
}
