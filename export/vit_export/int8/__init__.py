"""int8: calibrate, equalise, round, choose the layers that stay float, and write the products."""
