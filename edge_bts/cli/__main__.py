"""``python -m edge_bts.cli``: the command line where no script is on the path."""

from edge_bts.cli import main

main()
