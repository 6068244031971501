import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.rpc.ErrorInfo;
import dev.qzo.v1.CreateDatasetRequest;
import dev.qzo.v1.CreateJobRequest;
import dev.qzo.v1.CreateModelRequest;
import dev.qzo.v1.Dataset;
import dev.qzo.v1.DatasetServiceGrpc;
import dev.qzo.v1.Evaluation;
import dev.qzo.v1.FineTuningJob;
import dev.qzo.v1.GetJobRequest;
import dev.qzo.v1.JobServiceGrpc;
import dev.qzo.v1.JobSpec;
import dev.qzo.v1.Method;
import dev.qzo.v1.Model;
import dev.qzo.v1.ModelServiceGrpc;
import dev.qzo.v1.Task;
import dev.qzo.v1.TaskKind;
import dev.qzo.v1.WatchJobRequest;
import dev.qzo.v1.WatchJobResponse;
import io.grpc.CallCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.Iterator;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;

/**
 * Submits a classification job, follows it to its end, and prints what it learned. examples/clients/README.md says how to build it.
 *
 * <pre>Client MODEL.gguf TRAIN.jsonl TEST.jsonl STEPS</pre>
 *
 * $QZO_SERVER, $QZO_TOKEN_FILE and $QZO_TLS_CA are as qzoctl's; without the last it speaks clear text.
 */
public final class Client {
  private static final String PROJECT = "projects/default";
  private static final int CHUNK = 1 << 20; // the API's limit
  private static final long PATIENCE_NANOS = TimeUnit.MINUTES.toNanos(5);

  private final ManagedChannel channel;
  private final JobServiceGrpc.JobServiceBlockingStub jobs;
  private final CallCredentials token;

  private Client() throws IOException {
    NettyChannelBuilder builder = NettyChannelBuilder.forTarget(System.getenv().getOrDefault("QZO_SERVER", "127.0.0.1:7070"));
    String authorities = System.getenv("QZO_TLS_CA");
    if (authorities == null) {
      builder.usePlaintext();
    } else {
      builder.sslContext(GrpcSslContexts.forClient().trustManager(new File(authorities)).build());
    }
    channel = builder.build();
    String path = System.getenv("QZO_TOKEN_FILE");
    token = path == null ? null : new Token(Path.of(path));
    jobs = JobServiceGrpc.newBlockingStub(channel).withCallCredentials(token);
  }

  /** A token goes with every call. */
  private static final class Token extends CallCredentials {
    private final Path path;

    Token(Path path) {
      this.path = path;
    }

    @Override
    public void applyRequestMetadata(RequestInfo info, Executor executor, MetadataApplier applier) {
      Metadata metadata = new Metadata();
      try {
        String secret = Files.readString(path).strip();
        metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + secret);
        applier.apply(metadata);
      } catch (IOException e) {
        applier.fail(Status.UNAUTHENTICATED.withDescription(path.toString()).withCause(e));
      }
    }

    @Override
    public void thisUsesUnstableApi() {}
  }

  /** What errors carry for programs: docs/errors.md lists them. */
  private static String reason(Throwable error) {
    com.google.rpc.Status status = StatusProto.fromThrowable(error);
    if (status == null) {
      return "";
    }
    for (Any detail : status.getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        try {
          return detail.unpack(ErrorInfo.class).getReason();
        } catch (com.google.protobuf.InvalidProtocolBufferException e) {
          return "";
        }
      }
    }
    return "";
  }

  /** Sends a header and a file, a piece whenever the connection has room for one; without a path the header alone. */
  private static final class Upload<Q, R> implements ClientResponseObserver<Q, R> {
    private final InputStream file;
    private final Function<byte[], Q> piece;
    private final CompletableFuture<R> answer = new CompletableFuture<>();
    private Q header;
    private boolean sent;

    Upload(Q header, Path path, Function<byte[], Q> piece) throws IOException {
      this.header = header;
      this.file = path == null ? InputStream.nullInputStream() : Files.newInputStream(path);
      this.piece = piece;
    }

    /** Waits for what the server makes of it. */
    R await() throws IOException, InterruptedException {
      try (file) {
        return answer.get();
      } catch (ExecutionException e) {
        if (e.getCause() instanceof StatusRuntimeException known) {
          throw known;
        }
        throw new IOException(e.getCause());
      }
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<Q> stream) {
      stream.setOnReadyHandler(
          () -> {
            try {
              if (header != null) {
                stream.onNext(header);
                header = null;
              }
              while (!sent && stream.isReady()) {
                byte[] data = file.readNBytes(CHUNK);
                if (data.length > 0) {
                  stream.onNext(piece.apply(data));
                } else {
                  sent = true;
                  stream.onCompleted();
                }
              }
            } catch (IOException e) {
              stream.cancel("the file cannot be read", e);
            }
          });
    }

    @Override
    public void onNext(R value) {
      answer.complete(value);
    }

    @Override
    public void onError(Throwable error) {
      answer.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
      answer.completeExceptionally(new IOException("no answer came")); // unless one did
    }
  }

  private String uploadDataset(Path path) throws Exception {
    CreateDatasetRequest.Builder header = CreateDatasetRequest.newBuilder();
    header.getHeaderBuilder().setParent(PROJECT).setRequestId(UUID.randomUUID().toString());
    Upload<CreateDatasetRequest, Dataset> upload =
        new Upload<>(header.build(), path, data -> CreateDatasetRequest.newBuilder().setData(ByteString.copyFrom(data)).build());
    DatasetServiceGrpc.newStub(channel).withCallCredentials(token).createDataset(upload);
    return upload.await().getName();
  }

  /** Offers the digest first: a server that holds the model needs nothing more. */
  private String uploadModel(Path path) throws Exception {
    MessageDigest sha256 = MessageDigest.getInstance("SHA-256");
    try (InputStream file = Files.newInputStream(path)) {
      for (byte[] data; (data = file.readNBytes(CHUNK)).length > 0; ) {
        sha256.update(data);
      }
    }
    String digest = HexFormat.of().formatHex(sha256.digest());
    try {
      return sendModel(digest, null);
    } catch (StatusRuntimeException e) {
      if (!reason(e).equals("DATA_NEEDED")) {
        throw e;
      }
      return sendModel(digest, path);
    }
  }

  private String sendModel(String digest, Path path) throws Exception {
    CreateModelRequest.Builder header = CreateModelRequest.newBuilder();
    header.getHeaderBuilder().setParent(PROJECT).setDigest(digest).setRequestId(UUID.randomUUID().toString());
    Upload<CreateModelRequest, Model> upload =
        new Upload<>(header.build(), path, data -> CreateModelRequest.newBuilder().setData(ByteString.copyFrom(data)).build());
    ModelServiceGrpc.newStub(channel).withCallCredentials(token).createModel(upload);
    return upload.await().getName();
  }

  /** Prints each step once, over as many connections as it takes. */
  private FineTuningJob follow(String name) throws InterruptedException {
    long next = 1;
    long heard = System.nanoTime();
    while (true) {
      try {
        WatchJobRequest request = WatchJobRequest.newBuilder().setName(name).setFromSequence(next).build();
        for (Iterator<WatchJobResponse> items = jobs.watchJob(request); items.hasNext(); ) {
          WatchJobResponse item = items.next();
          heard = System.nanoTime();
          if (item.hasEvent()) {
            next = item.getEvent().getSequence() + 1;
            if (item.getEvent().hasStep()) {
              System.out.printf("step %d loss %.4f%n", item.getEvent().getStep().getStep(), item.getEvent().getStep().getTrainLoss());
            }
          }
        }
        return jobs.getJob(GetJobRequest.newBuilder().setName(name).build()); // it has ended, and this was all
      } catch (StatusRuntimeException e) {
        if (e.getStatus().getCode() != Status.Code.UNAVAILABLE || System.nanoTime() - heard > PATIENCE_NANOS) {
          throw e;
        }
      }
      Thread.sleep(1000);
    }
  }

  private boolean run(Path model, Path train, Path test, int steps) throws Exception {
    Task task =
        Task.newBuilder().setKind(TaskKind.CLASSIFICATION).setPrompt("{text} It was").addOptions(" sad").addOptions(" fun").build();
    JobSpec spec =
        JobSpec.newBuilder()
            .setTask(task)
            .setMethod(Method.newBuilder().setSteps(steps))
            .setBaseModel(uploadModel(model))
            .setTrainingDataset(uploadDataset(train))
            .setTestDataset(uploadDataset(test))
            .build();
    CreateJobRequest request =
        CreateJobRequest.newBuilder()
            .setParent(PROJECT)
            .setRequestId(UUID.randomUUID().toString())
            .setJob(FineTuningJob.newBuilder().setSpec(spec))
            .build();
    FineTuningJob job = jobs.createJob(request);
    System.out.println(job.getName());
    job = follow(job.getName());
    Evaluation result = job.getProgress().getFinalTest();
    System.out.printf(
        "%s: accuracy %.3f, loss %.4f, adapter %s%n", job.getState(), result.getAccuracy(), result.getLoss(), job.getAdapter());
    if (job.getState() != FineTuningJob.State.SUCCEEDED) {
      System.err.println(job.getReason() + ": " + job.getMessage());
    }
    return job.getState() == FineTuningJob.State.SUCCEEDED;
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 4) {
      System.err.println("usage: Client MODEL.gguf TRAIN.jsonl TEST.jsonl STEPS");
      System.exit(2);
    }
    Client client = new Client();
    boolean succeeded = false;
    try {
      succeeded =
          client.run(Path.of(arguments[0]), Path.of(arguments[1]), Path.of(arguments[2]), Integer.parseInt(arguments[3]));
    } catch (StatusRuntimeException e) {
      System.err.println(e.getMessage() + " " + reason(e));
    } finally {
      client.channel.shutdownNow();
    }
    System.exit(succeeded ? 0 : 1);
  }
}
