"""`python -m tools.dashboards`: writes the dashboards' files anew."""

from __future__ import annotations

from tools.dashboards import files


def main() -> None:
    """Write them, and say where."""
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        print(path)


if __name__ == "__main__":
    main()
