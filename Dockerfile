# Plain instructions only: builds with BuildKit and with the classic builder.
ARG BUILD_IMAGE=golang:1.26-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
# Empty means Go's own default.
ARG GOPROXY
WORKDIR /src
# The modules are a layer of their own: a change of the code does not fetch them again.
COPY go.mod go.sum ./
COPY client/go.mod client/
RUN go mod download
COPY . .
# Shown by `readmark version`; the context holds no .git to read them from.
ARG VERSION=
ARG COMMIT=
RUN CGO_ENABLED=0 go build -buildvcs=false -trimpath \
      -ldflags "-s -w -X readmark/internal/cli.version=${VERSION} -X readmark/internal/cli.commit=${COMMIT}" \
      -o /out/readmark ./cmd/readmark \
    && go clean -cache \
    && mkdir /out/files && mkdir -m 0770 /out/files/data

FROM ${RUNTIME_IMAGE}
COPY --from=build /out/readmark /readmark
# The runtime image has no shell: the directory comes ready-made, owned by its user,
# and a new named volume on it takes its owner over. The group is root's, without any
# of root's rights: a platform that chooses the user by chance runs it in that group.
# Within a directory, because COPY gives a mode of its own to what it copies into.
COPY --from=build --chown=65532:0 /out/files/ /
USER 65532:65532
# All addresses of the container: what is published is the host's decision.
ENV READMARK_ADDR=0.0.0.0:8080 \
    READMARK_OPS_ADDR=0.0.0.0:8081 \
    READMARK_DATA_DIR=/data \
    READMARK_LOG_FORMAT=json
VOLUME /data
EXPOSE 8080 8081
HEALTHCHECK --interval=5s --timeout=6s --start-period=60s --retries=3 CMD ["/readmark", "healthcheck"]
ENTRYPOINT ["/readmark"]
CMD ["serve"]
