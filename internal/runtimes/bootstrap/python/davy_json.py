"""JSON as AWS's Python runtime reads and writes it: a Decimal becomes a number
with all its digits, bytes become text.
"""

import json
import sys


class _Encoder(json.JSONEncoder):
    def __init__(self):
        # Since Python 3.12 AWS leaves characters outside ASCII as they are.
        super().__init__(ensure_ascii=sys.version_info < (3, 12))
        self.numbers = []

    def default(self, value):
        if isinstance(value, bytes):
            return value.decode()
        decimal = sys.modules.get("decimal")  # not loaded: the value is none
        if decimal is None or not isinstance(value, decimal.Decimal):
            return super().default(value)
        if value.is_nan():
            return float("nan")
        self.numbers.append(str(value))
        return self.placeholder(len(self.numbers) - 1)

    def placeholder(self, n):
        # Not in any text of the response but by guessing an object's address.
        return f"davy-number-{id(self)}-{n}-"

    def text(self, value):
        text = self.encode(value)
        if not self.numbers:
            return text
        import re  # few functions need it

        mark = re.escape(self.placeholder("N")).replace("N", r"(\d+)")
        return re.sub(f'"{mark}"', lambda m: self.numbers[int(m[1])], text)


def dumps(value):
    return _Encoder().text(value)


loads = json.loads
