"""Write C++ classes that implement what is pure virtual in TensorRT's implementation classes.

    python make_stubs.py INCLUDE > stubs.hpp

The header NvInferImpl.h of every version lists other functions; a fake overrides those that it
knows, and what else is called ends the test program with the name of the function.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CLASSES = ("VRuntime", "VCudaEngine", "VExecutionContext")
FUNCTION = re.compile(
    r"virtual\s+(?P<type>[^;()]+?)\s*\b(?P<name>\w+)\((?P<arguments>[^;]*?)\)\s*"
    r"(?P<const>const)?\s*noexcept\s*=\s*0;"
)


def main(include: Path) -> None:
    """Print the header."""
    text = re.sub(r"//.*", "", (include / "NvInferImpl.h").read_text(encoding="utf-8"))
    print("// Made by make_stubs.py.\n#pragma once\n#pragma GCC system_header")
    print("#include <NvInferRuntime.h>\n\n#include <cstdio>\n#include <cstdlib>\n")
    print("namespace stubs {\n")
    print("[[noreturn]] inline void unexpected(const char* name) noexcept {")
    print('    std::fprintf(stderr, "The fake has no %s.\\n", name);\n    std::abort();\n}\n')
    print("using namespace nvinfer1;\n")
    for name in CLASSES:
        found = re.search(rf"^class {name} .*?^}};", text, re.MULTILINE | re.DOTALL)
        if found is None:
            sys.exit(f"Expected class {name} in NvInferImpl.h of {include}, but it is not there.")
        print(f"class {name} : public apiv::{name} {{\n  public:")
        functions = list(FUNCTION.finditer(found.group()))
        if len(functions) != found.group().count("= 0;"):
            sys.exit(
                f"Expected to understand every function of {name}, but some are of a new form."
            )
        for function in functions:
            arguments = " ".join(function["arguments"].split())
            print(
                f"    {function['type']} {function['name']}({arguments}) "
                f"{function['const'] or ''} noexcept override "
                f'{{ unexpected("{name}::{function["name"]}"); }}'
            )
        print("};\n")
    print("}  // namespace stubs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
