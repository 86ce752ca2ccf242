# All images, for those who have no Go: it builds the programs in a stage of its own,
# from a base image that the engine fetches. docs/compose.md has the commands. What
# comes after the programs is as in the other files of this folder; a test compares.
ARG GO=golang:1.26
FROM ${GO} AS build
WORKDIR /src
COPY . .
RUN scripts/build && scripts/compose stage

FROM scratch AS identity
COPY --from=build /src/bin/image/identity/identity /identity
COPY --from=build /src/bin/image/identity/entries.yaml /entries.yaml
COPY --from=build --chown=18000:18000 /src/bin/image/identity/volume/ /
USER 18000:18000
ENTRYPOINT ["/identity"]
CMD ["run", "--entries", "/entries.yaml", "--socket", "/workload-api/identity.sock"]

FROM scratch AS nexus
COPY --from=build /src/bin/image/nexus/nexus /nexus
COPY --from=build --chown=18001:18001 /src/bin/image/nexus/volume/ /
USER 18001:18001
ENTRYPOINT ["/nexus"]

FROM scratch AS keeper
COPY --from=build /src/bin/image/keeper/keeper /keeper
USER 65534:65534
ENTRYPOINT ["/keeper"]

FROM scratch AS spike
COPY --from=build /src/bin/image/spike/spike /spike
COPY --from=build --chown=18021:18021 /src/bin/image/spike/superuser/ /
COPY --from=build --chown=18022:18022 /src/bin/image/spike/recover/ /
USER 65534:65534
ENTRYPOINT ["/spike"]
