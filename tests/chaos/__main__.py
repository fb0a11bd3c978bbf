"""``python -m tests.chaos [--short] [--only NUMBER ...]``: breaks Hayabin on purpose and says which promises held."""

from tests.chaos.run import main

if __name__ == "__main__":
    raise SystemExit(main())
