"""The programs beside this file crash, hang or exit when they are imported: pytest keeps away from them."""

collect_ignore_glob = ["*.py"]
