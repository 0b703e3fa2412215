"""What stands in a cubin and what a patch did, as plain data (`facts`, `statistics`, `difference`, `timeline`) and as
people read it (`terminal`, `page`).
"""
