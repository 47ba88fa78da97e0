"""TLS to AWS's host names ends at Davy, whose certificate is signed by a local
authority. Only connections to these names trust it, and only it. boto3,
requests, urllib and asyncio all connect through ssl.SSLContext.

Other programs that the function starts trust it beside the public authorities
by the variables that OpenSSL, Node.js and the AWS SDKs read. What the function
sets itself stays. This process reads the first of them too, and is made not to.
"""

import os
import sys
from importlib.machinery import PathFinder


class _Loader:
    """Loads a module as before and then changes it. (importlib.abc, where the
    base classes are, takes longer to import than all the rest.)"""

    def __init__(self, loader, change):
        self._loader, self._change = loader, change

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._change(module)


class _Finder:
    """Sees the first import of ssl: a function that opens no connection does
    not pay for it."""

    def __init__(self, change):
        self._change = change

    def find_spec(self, name, path, target=None):
        if name != "ssl":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._change)
        return spec


def install(ca_file, suffixes):
    """Makes connections trust the authority in ca_file for names that end in
    one of the suffixes. A context that checks no certificates stays so."""

    bundle = os.path.join(os.path.dirname(ca_file), "ca-bundle.pem")
    for name, value in (("SSL_CERT_FILE", bundle), ("AWS_CA_BUNDLE", bundle), ("NODE_EXTRA_CA_CERTS", ca_file)):
        os.environ.setdefault(name, value)

    def change(ssl):
        contexts = {}

        def ours(name):
            if isinstance(name, bytes):
                name = name.decode("ascii", "replace")
            return isinstance(name, str) and any(name == s or name.endswith("." + s) for s in suffixes)

        def context_for(context, name):
            if context.verify_mode == ssl.CERT_NONE or not ours(name):
                return context
            kind = (context.check_hostname, context.verify_mode)
            if kind not in contexts:
                own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                own.check_hostname, own.verify_mode = kind
                own.load_verify_locations(ca_file)
                contexts[kind] = own
            return contexts[kind]

        wrap_socket, wrap_bio = ssl.SSLContext.wrap_socket, ssl.SSLContext.wrap_bio

        def socket(
            self, sock, server_side=False, do_handshake_on_connect=True, suppress_ragged_eofs=True,
            server_hostname=None, session=None,
        ):
            context = self if server_side else context_for(self, server_hostname)
            if context is not self:
                session = None  # belongs to the other context
            return wrap_socket(
                context, sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname, session
            )

        def bio(self, incoming, outgoing, server_side=False, server_hostname=None, session=None):
            context = self if server_side else context_for(self, server_hostname)
            if context is not self:
                session = None
            return wrap_bio(context, incoming, outgoing, server_side, server_hostname, session)

        set_default_verify_paths = ssl.SSLContext.set_default_verify_paths

        def default_paths(self):
            if os.environ.get("SSL_CERT_FILE") != bundle:
                return set_default_verify_paths(self)
            # As if it were not set: OpenSSL's own places.
            _, file, directory_variable, directory = ssl._ssl.get_default_verify_paths()
            file = file if os.path.isfile(file) else None
            directory = os.environ.get(directory_variable, directory)
            directory = directory if os.path.isdir(directory) else None
            if file or directory:
                self.load_verify_locations(file, directory)

        ssl.SSLContext.wrap_socket, ssl.SSLContext.wrap_bio = socket, bio
        ssl.SSLContext.set_default_verify_paths = default_paths

    if "ssl" in sys.modules:
        change(sys.modules["ssl"])
    else:
        sys.meta_path.insert(0, _Finder(change))
