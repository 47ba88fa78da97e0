package iam

import (
	"context"
	"crypto/subtle"
	"net/http"

	"davy/api/iamapi"
	"davy/internal/awsapi"
)

func noLogin(user string) error {
	return noSuchEntity("Login Profile for User %s cannot be found.", user)
}

func (r *record) loginProfile() *iamapi.LoginProfile {
	return &iamapi.LoginProfile{UserName: new(r.Name), CreateDate: new(r.Login.Created), PasswordResetRequired: new(r.Login.Reset)}
}

// loginUser finds the user that a login operation is about: the one named, or
// else the caller.
func (s *snapshot) loginUser(ctx context.Context, name *string) (*record, error) {
	r, err := s.holder(ctx, name)
	if err == nil && r == nil {
		// AWS gives the root user a password at sign-up; Davy's has keys only.
		return nil, validationError("Must specify userName when calling with non-User credentials")
	}
	return r, err
}

// setLogin puts a login in place of the one that was looked at. Hashing took
// a while: when the user has another password by now, nothing changes.
func (s *Service) setLogin(ctx context.Context, seen *record, l login, taken string) (*record, error) {
	var out *record
	return out, s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old := now.byID[seen.ID]
		switch {
		case old == nil:
			return nil, notFound(userKind, seen.Name)
		case !sameLogin(&old.Login, &seen.Login):
			return nil, &iamapi.EntityTemporarilyUnmodifiableException{Message: &taken}
		}
		out = old.clone()
		out.Login = l
		return []change{{old, out}}, nil
	})
}

// CreateLoginProfile gives a user a password.
func (s *Service) CreateLoginProfile(ctx context.Context, in *iamapi.CreateLoginProfileRequest) (*iamapi.CreateLoginProfileResponse, error) {
	now := s.snap.Load()
	r, err := now.loginUser(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	exists := "Login Profile for user " + r.Name + " already exists."
	if r.Login.present() {
		return nil, alreadyExists("%s", exists)
	}
	if in.Password == nil {
		return nil, validationError("1 validation error detected: Value null at 'password' failed to satisfy constraint: Member must not be null")
	}
	if err := now.account.Passwords.check(*in.Password, now.account); err != nil {
		return nil, err
	}
	l := s.newLogin()
	hash, err := s.hash(&l, *in.Password)
	if err != nil {
		return nil, err
	}
	l.set(hash, l.Created, awsapi.Val(in.PasswordResetRequired))
	made, err := s.setLogin(ctx, r, l, exists)
	if err != nil {
		return nil, err
	}
	return &iamapi.CreateLoginProfileResponse{LoginProfile: made.loginProfile()}, nil
}

// GetLoginProfile tells that a user has a password.
func (s *Service) GetLoginProfile(ctx context.Context, in *iamapi.GetLoginProfileRequest) (*iamapi.GetLoginProfileResponse, error) {
	r, err := s.snap.Load().loginUser(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if !r.Login.present() {
		return nil, noLogin(r.Name)
	}
	return &iamapi.GetLoginProfileResponse{LoginProfile: r.loginProfile()}, nil
}

const passwordRace = "The login profile is being changed by another request. Try again."

// UpdateLoginProfile sets a user's password, or whether it must be changed at
// the next sign-in.
func (s *Service) UpdateLoginProfile(ctx context.Context, in *iamapi.UpdateLoginProfileRequest) (*iamapi.UpdateLoginProfileOutput, error) {
	now := s.snap.Load()
	r, err := now.loginUser(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if !r.Login.present() {
		return nil, noLogin(r.Name)
	}
	l := r.clone().Login
	if in.PasswordResetRequired != nil {
		l.Reset = *in.PasswordResetRequired
	}
	if in.Password != nil {
		if err := s.renew(&l, *in.Password, now.account); err != nil {
			return nil, err
		}
	}
	_, err = s.setLogin(ctx, r, l, passwordRace)
	return &iamapi.UpdateLoginProfileOutput{}, err
}

// renew gives a login another password, if the policy allows it.
func (s *Service) renew(l *login, password string, a *accountRecord) error {
	if err := a.Passwords.check(password, a); err != nil {
		return err
	}
	hash, err := s.hash(l, password)
	if err != nil {
		return err
	}
	if l.used(hash, a.Passwords.ReusePrevention) {
		return passwordViolation()
	}
	l.set(hash, s.now(), l.Reset)
	return nil
}

// DeleteLoginProfile takes a user's password away.
func (s *Service) DeleteLoginProfile(ctx context.Context, in *iamapi.DeleteLoginProfileRequest) (*iamapi.DeleteLoginProfileOutput, error) {
	return &iamapi.DeleteLoginProfileOutput{}, s.mutate(ctx, func(now *snapshot) ([]change, error) {
		old, err := now.loginUser(ctx, in.UserName)
		if err != nil {
			return nil, err
		}
		if !old.Login.present() {
			return nil, noLogin(old.Name)
		}
		r := old.clone()
		r.Login = login{}
		return []change{{old, r}}, nil
	})
}

// ChangePassword replaces the password of the user who asks, and who knows the
// old one.
func (s *Service) ChangePassword(ctx context.Context, in *iamapi.ChangePasswordRequest) (*iamapi.ChangePasswordOutput, error) {
	now := s.snap.Load()
	r := now.byID[awsapi.CallFrom(ctx).Principal.UserID]
	if r == nil || r.Kind != userKind {
		return nil, &iamapi.InvalidUserTypeException{Message: new("Only IAM Users can change their own password.")}
	}
	if !r.Login.present() {
		return nil, noLogin(r.Name)
	}
	if p := &now.account.Passwords; p.HardExpiry && p.expired(&r.Login, s.now()) {
		return nil, awsapi.Errorf(http.StatusForbidden, "AccessDenied", "The password has expired. An administrator must set a new one.")
	}
	l := r.clone().Login
	old, err := s.hash(&l, awsapi.Val(in.OldPassword))
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(old, l.Hash) != 1 {
		return nil, awsapi.Errorf(http.StatusForbidden, "AccessDenied", "The old password was incorrect.")
	}
	l.Reset = false
	if err := s.renew(&l, awsapi.Val(in.NewPassword), now.account); err != nil {
		return nil, err
	}
	_, err = s.setLogin(ctx, r, l, passwordRace)
	return &iamapi.ChangePasswordOutput{}, err
}
