package iam

import (
	"context"
	"slices"
	"time"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

const keysPerUser = 2

// lastUsed is kept in memory only: a restart forgets it.
type lastUsed struct {
	at              time.Time
	service, region string
}

// Used notes that a request was signed with an access key, for
// GetAccessKeyLastUsed, and of a role's session for GetRole. The gateway calls
// it once a signature is verified.
func (s *Service) Used(accessKeyID, service, region string) {
	now := s.snap.Load()
	if _, known := now.keys[accessKeyID]; known {
		s.used.Store(accessKeyID, lastUsed{s.now(), service, region})
		return
	}
	if ss := s.sessions.get(accessKeyID, nil); ss != nil {
		if r := now.byID[ss.Of]; r != nil && r.Kind == roleKind {
			s.used.Store(r.ID, lastUsed{s.now(), service, region})
		}
	}
}

// roleLastUsed tells when and where a session of a role last made a request,
// as far as this process has seen.
func (s *snapshot) roleLastUsed(r *record) *iamapi.RoleLastUsed {
	if home := s.peers.Of(s.account.Account); home != nil {
		if v, ok := home.used.Load(r.ID); ok {
			u := v.(lastUsed)
			return &iamapi.RoleLastUsed{LastUsedDate: &u.at, Region: &u.region}
		}
	}
	return &iamapi.RoleLastUsed{}
}

// holder finds whose access keys an operation is about: the user named, or
// else the caller. A nil record with no error is the root user.
func (s *snapshot) holder(ctx context.Context, name *string) (*record, error) {
	n := awsapi.Val(name)
	if name == nil {
		p := awsapi.CallFrom(ctx).Principal
		if p.ARN == s.account.rootARN() {
			return nil, nil
		}
		var err error
		if n, err = s.callerName(p); err != nil {
			return nil, err
		}
	}
	if r := s.find(userKind, n); r != nil {
		return r, nil
	}
	return nil, notFound(userKind, n)
}

// setKeys replaces the access keys of a user or, r nil, of root.
func (s *snapshot) setKeys(r *record, f func([]accessKey) ([]accessKey, error)) (change, error) {
	var err error
	if r == nil {
		a := s.account.clone()
		a.Keys, err = f(a.Keys)
		return change{s.account, a}, err
	}
	u := r.clone()
	u.Keys, err = f(u.Keys)
	return change{r, u}, err
}

// CreateAccessKey makes an access key. Its secret is shown only this once.
func (s *Service) CreateAccessKey(ctx context.Context, in *iamapi.CreateAccessKeyRequest) (*iamapi.CreateAccessKeyResponse, error) {
	k := accessKey{ID: newAccessKeyID("AKIA", s.Account()), Secret: newSecret(), Active: true, Created: s.now()}
	var name *string
	err := s.mutate(ctx, func(now *snapshot) ([]change, error) {
		r, err := now.holder(ctx, in.UserName)
		if err != nil {
			return nil, err
		}
		reserved := &keyRecord{ID: k.ID}
		if name = nil; r != nil {
			reserved.Owner, name = r.ID, new(r.Name)
		}
		c, err := now.setKeys(r, func(keys []accessKey) ([]accessKey, error) {
			if len(keys) >= keysPerUser {
				return nil, limitExceeded("Cannot exceed quota for AccessKeysPerUser: %d", keysPerUser)
			}
			return append(keys, k), nil
		})
		return []change{c, {nil, reserved}}, err
	})
	if err != nil {
		return nil, err
	}
	return &iamapi.CreateAccessKeyResponse{AccessKey: &iamapi.AccessKey{
		AccessKeyId: &k.ID, SecretAccessKey: &k.Secret, CreateDate: &k.Created, Status: k.status(), UserName: name,
	}}, nil
}

func (k *accessKey) status() *iamapi.StatusType {
	if k.Active {
		return new(iamapi.StatusTypeActive)
	}
	return new(iamapi.StatusTypeInactive)
}

// ListAccessKeys lists the access keys of a user, without secrets.
func (s *Service) ListAccessKeys(ctx context.Context, in *iamapi.ListAccessKeysRequest) (*iamapi.ListAccessKeysResponse, error) {
	now := s.snap.Load()
	r, err := now.holder(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	keys, name := now.account.Keys, (*string)(nil)
	if r != nil {
		keys, name = r.Keys, new(r.Name)
	}
	keys = slices.SortedFunc(slices.Values(keys), func(a, b accessKey) int { return order(a.ID, b.ID) })
	out := &iamapi.ListAccessKeysResponse{AccessKeyMetadata: []iamapi.AccessKeyMetadata{}}
	list, truncated, marker, err := page(keys, func(k accessKey) string { return k.ID }, in.Marker, in.MaxItems)
	for _, k := range list {
		out.AccessKeyMetadata = append(out.AccessKeyMetadata, iamapi.AccessKeyMetadata{
			AccessKeyId: new(k.ID), CreateDate: new(k.Created), Status: k.status(), UserName: name,
		})
	}
	out.IsTruncated, out.Marker = truncated, marker
	return out, err
}

func noKey(id string) error { return noSuchEntity("The Access Key with id %s cannot be found.", id) }

// UpdateAccessKey switches an access key on or off.
func (s *Service) UpdateAccessKey(ctx context.Context, in *iamapi.UpdateAccessKeyRequest) (*iamapi.UpdateAccessKeyOutput, error) {
	id := awsapi.Val(in.AccessKeyId)
	status := awsapi.Val(in.Status)
	if status != iamapi.StatusTypeActive && status != iamapi.StatusTypeInactive {
		// Expired is a value of the model that only AWS sets.
		return nil, validationError("The status %s cannot be set.", status)
	}
	return &iamapi.UpdateAccessKeyOutput{}, s.mutate(ctx, func(now *snapshot) ([]change, error) {
		r, err := now.holder(ctx, in.UserName)
		if err != nil {
			return nil, err
		}
		c, err := now.setKeys(r, func(keys []accessKey) ([]accessKey, error) {
			i := slices.IndexFunc(keys, func(k accessKey) bool { return k.ID == id })
			if i < 0 {
				return nil, noKey(id)
			}
			keys[i].Active = status == iamapi.StatusTypeActive
			return keys, nil
		})
		return []change{c}, err
	})
}

// DeleteAccessKey deletes an access key.
func (s *Service) DeleteAccessKey(ctx context.Context, in *iamapi.DeleteAccessKeyRequest) (*iamapi.DeleteAccessKeyOutput, error) {
	id := awsapi.Val(in.AccessKeyId)
	err := s.mutate(ctx, func(now *snapshot) ([]change, error) {
		r, err := now.holder(ctx, in.UserName)
		if err != nil {
			return nil, err
		}
		c, err := now.setKeys(r, func(keys []accessKey) ([]accessKey, error) {
			i := slices.IndexFunc(keys, func(k accessKey) bool { return k.ID == id })
			if i < 0 {
				return nil, noKey(id)
			}
			return slices.Delete(keys, i, i+1), nil
		})
		if err != nil {
			return nil, err
		}
		changes := []change{c}
		if reserved := now.keyDocs[id]; reserved != nil {
			changes = append(changes, change{reserved, nil})
		}
		return changes, nil
	})
	if err == nil {
		s.used.Delete(id)
	}
	return &iamapi.DeleteAccessKeyOutput{}, err
}

// GetAccessKeyLastUsed tells when, for what and by whom a key was last used,
// as far as this process has seen.
func (s *Service) GetAccessKeyLastUsed(_ context.Context, in *iamapi.GetAccessKeyLastUsedRequest) (*iamapi.GetAccessKeyLastUsedResponse, error) {
	id := awsapi.Val(in.AccessKeyId)
	entry, known := s.snap.Load().keys[id]
	if !known {
		return nil, noKey(id)
	}
	out := &iamapi.GetAccessKeyLastUsedResponse{AccessKeyLastUsed: &iamapi.AccessKeyLastUsed{Region: new("N/A"), ServiceName: new("N/A")}}
	if entry.owner != nil {
		out.UserName = new(entry.owner.Name)
	}
	if v, ok := s.used.Load(id); ok {
		u := v.(lastUsed)
		out.AccessKeyLastUsed = &iamapi.AccessKeyLastUsed{LastUsedDate: &u.at, Region: &u.region, ServiceName: &u.service}
	}
	return out, nil
}
