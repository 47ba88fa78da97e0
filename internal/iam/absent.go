package iam

// What Davy does not have can be listed: there is none. Tools ask for it before
// they delete a user. The operations that would make it are not implemented.

import (
	"context"

	"davy/api/iamapi"
)

// ListMFADevices lists nothing for a user that exists.
func (s *Service) ListMFADevices(ctx context.Context, in *iamapi.ListMFADevicesRequest) (*iamapi.ListMFADevicesResponse, error) {
	_, err := s.snap.Load().holder(ctx, in.UserName)
	return &iamapi.ListMFADevicesResponse{MFADevices: []iamapi.MFADevice{}, IsTruncated: new(false)}, err
}

// ListVirtualMFADevices lists nothing.
func (s *Service) ListVirtualMFADevices(context.Context, *iamapi.ListVirtualMFADevicesRequest) (*iamapi.ListVirtualMFADevicesResponse, error) {
	return &iamapi.ListVirtualMFADevicesResponse{VirtualMFADevices: []iamapi.VirtualMFADevice{}, IsTruncated: new(false)}, nil
}

// ListSigningCertificates lists nothing for a user that exists.
func (s *Service) ListSigningCertificates(ctx context.Context, in *iamapi.ListSigningCertificatesRequest) (*iamapi.ListSigningCertificatesResponse, error) {
	_, err := s.snap.Load().holder(ctx, in.UserName)
	return &iamapi.ListSigningCertificatesResponse{Certificates: []iamapi.SigningCertificate{}, IsTruncated: new(false)}, err
}

// ListSSHPublicKeys lists nothing for a user that exists.
func (s *Service) ListSSHPublicKeys(ctx context.Context, in *iamapi.ListSSHPublicKeysRequest) (*iamapi.ListSSHPublicKeysResponse, error) {
	_, err := s.snap.Load().holder(ctx, in.UserName)
	return &iamapi.ListSSHPublicKeysResponse{SSHPublicKeys: []iamapi.SSHPublicKeyMetadata{}, IsTruncated: new(false)}, err
}

// ListServiceSpecificCredentials lists nothing for a user that exists.
func (s *Service) ListServiceSpecificCredentials(ctx context.Context, in *iamapi.ListServiceSpecificCredentialsRequest) (*iamapi.ListServiceSpecificCredentialsResponse, error) {
	if in.UserName != nil || in.AllUsers == nil {
		if _, err := s.snap.Load().holder(ctx, in.UserName); err != nil {
			return nil, err
		}
	}
	return &iamapi.ListServiceSpecificCredentialsResponse{ServiceSpecificCredentials: []iamapi.ServiceSpecificCredentialMetadata{}, IsTruncated: new(false)}, nil
}

// ListServerCertificates lists nothing.
func (s *Service) ListServerCertificates(context.Context, *iamapi.ListServerCertificatesRequest) (*iamapi.ListServerCertificatesResponse, error) {
	return &iamapi.ListServerCertificatesResponse{ServerCertificateMetadataList: []iamapi.ServerCertificateMetadata{}, IsTruncated: new(false)}, nil
}

// ListSAMLProviders lists nothing.
func (s *Service) ListSAMLProviders(context.Context, *iamapi.ListSAMLProvidersRequest) (*iamapi.ListSAMLProvidersResponse, error) {
	return &iamapi.ListSAMLProvidersResponse{SAMLProviderList: []iamapi.SAMLProviderListEntry{}}, nil
}
