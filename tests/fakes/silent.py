"""Says that all is well, exits with 0 and writes nothing."""

print("calculating ...")
print("all is well")
