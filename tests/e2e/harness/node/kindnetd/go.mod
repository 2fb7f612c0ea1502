module manta/tests/e2e/kindnetd

go 1.24.0
