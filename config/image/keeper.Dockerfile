# A Keeper: one static program and nothing else. Each Keeper is told which user it
# is; the one here has no identity.
FROM scratch
COPY keeper /keeper
USER 65534:65534
ENTRYPOINT ["/keeper"]
