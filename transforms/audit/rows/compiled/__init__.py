"""What is compiled to machine code, once per machine and version (`rows.kernels`): plain loops over arrays of numbers."""
