"""From a handler setting such as src/app.handler to the function it names.
https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html
"""

import importlib
import os
import sys

from davy_errors import Fault

_PLATFORM = "/var/lang/lib/python%d.%d/site-packages" % sys.version_info[:2]


def set_path(task_root):
    """The function's code comes first, then its layers, then the SDK of the
    runtime. With that SDK, packages of the host are not the function's."""
    rest = sys.path
    if os.path.isdir(_PLATFORM):
        rest = [p for p in rest if os.path.basename(p) not in ("dist-packages", "site-packages")]
    sys.path = [
        task_root,
        "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2],
        "/opt/python",
        _PLATFORM,
        *rest,
    ]
    importlib.invalidate_caches()


def load(setting):
    """Returns the handler function. Its errors are AWS's."""
    try:
        module_name, name = setting.rsplit(".", 1)
    except ValueError as e:
        raise Fault("MalformedHandlerName", f"Bad handler '{setting}': {e}")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as e:
        raise Fault("ImportModuleError", f"Unable to import module '{module_name}': {e}")
    except SyntaxError as e:
        trace = [f'  File "{e.filename}" Line {e.lineno}\n    {e.text}']
        raise Fault("UserCodeSyntaxError", f"Syntax error in module '{module_name}': {e}", trace)
    try:
        return getattr(module, name)
    except AttributeError:
        raise Fault("HandlerNotFound", f"Handler '{name}' missing on module '{module_name}'")
