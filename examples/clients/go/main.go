// Submits a classification job, follows it to its end, and prints what it learned. examples/clients/README.md says how to build it.
//
//	client MODEL.gguf TRAIN.jsonl TEST.jsonl STEPS
//
// $QZO_SERVER, $QZO_TOKEN_FILE and $QZO_TLS_CA are as qzoctl's; without the last it speaks clear text.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	qzo "qzo.dev/api/qzo/v1"
)

const (
	project   = "projects/default"
	chunkSize = 1 << 20 // the API's limit
	patience  = 5 * time.Minute
)

// A token goes with every call, also in clear text on this machine, which gRPC's own oauth credentials refuse.
type token struct{ path string }

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	secret, err := os.ReadFile(t.path)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(secret))}, nil
}

func (token) RequireTransportSecurity() bool { return false }

func dial() (*grpc.ClientConn, error) {
	server := os.Getenv("QZO_SERVER")
	if server == "" {
		server = "127.0.0.1:7070"
	}
	options := []grpc.DialOption{grpc.WithInsecure()}
	if ca := os.Getenv("QZO_TLS_CA"); ca != "" {
		tls, err := credentials.NewClientTLSFromFile(ca, "")
		if err != nil {
			return nil, err
		}
		options = []grpc.DialOption{grpc.WithTransportCredentials(tls)}
	}
	if path := os.Getenv("QZO_TOKEN_FILE"); path != "" {
		options = append(options, grpc.WithPerRPCCredentials(token{path}))
	}
	return grpc.Dial(server, options...)
}

// A create that is repeated with the same id does nothing twice.
func requestID() string {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		log.Fatal(err)
	}
	return hex.EncodeToString(id)
}

// reason is what errors carry for programs: docs/errors.md lists them.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// chunks hands the pieces of a file to send, which may say io.EOF when the server has answered early.
func chunks(file io.Reader, send func([]byte) error) error {
	buffer := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(file, buffer)
		if n > 0 {
			if err := send(buffer[:n]); err == io.EOF {
				return nil // CloseAndRecv says why
			} else if err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func uploadDataset(ctx context.Context, conn *grpc.ClientConn, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	stream, err := qzo.NewDatasetServiceClient(conn).CreateDataset(ctx)
	if err != nil {
		return "", err
	}
	header := &qzo.CreateDatasetRequest_Header{Parent: project, RequestId: requestID()}
	if err := stream.Send(&qzo.CreateDatasetRequest{Part: &qzo.CreateDatasetRequest_Header_{Header: header}}); err != nil && err != io.EOF {
		return "", err
	}
	err = chunks(file, func(data []byte) error {
		return stream.Send(&qzo.CreateDatasetRequest{Part: &qzo.CreateDatasetRequest_Data{Data: data}})
	})
	if err != nil {
		return "", err
	}
	dataset, err := stream.CloseAndRecv()
	return dataset.GetName(), err
}

// uploadModel offers the digest first: a server that holds the model needs nothing more.
func uploadModel(ctx context.Context, conn *grpc.ClientConn, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	send := func(content io.Reader) (*qzo.Model, error) {
		stream, err := qzo.NewModelServiceClient(conn).CreateModel(ctx)
		if err != nil {
			return nil, err
		}
		header := &qzo.CreateModelRequest_Header{Parent: project, RequestId: requestID(), Digest: hex.EncodeToString(hash.Sum(nil))}
		if err := stream.Send(&qzo.CreateModelRequest{Part: &qzo.CreateModelRequest_Header_{Header: header}}); err != nil && err != io.EOF {
			return nil, err
		}
		err = chunks(content, func(data []byte) error {
			return stream.Send(&qzo.CreateModelRequest{Part: &qzo.CreateModelRequest_Data{Data: data}})
		})
		if err != nil {
			return nil, err
		}
		return stream.CloseAndRecv()
	}
	model, err := send(strings.NewReader(""))
	if reason(err) == "DATA_NEEDED" {
		if _, err = file.Seek(0, io.SeekStart); err == nil {
			model, err = send(file)
		}
	}
	return model.GetName(), err
}

// follow prints each step once, over as many connections as it takes.
func follow(ctx context.Context, jobs qzo.JobServiceClient, name string) (*qzo.FineTuningJob, error) {
	next, heard := uint64(1), time.Now()
	for {
		stream, err := jobs.WatchJob(ctx, &qzo.WatchJobRequest{Name: name, FromSequence: next})
		for err == nil {
			var item *qzo.WatchJobResponse
			if item, err = stream.Recv(); err != nil {
				break
			}
			heard = time.Now()
			if event := item.Event; event != nil {
				next = event.Sequence + 1
				if step := event.GetStep(); step != nil {
					fmt.Printf("step %d loss %.4f\n", step.Step, step.TrainLoss)
				}
			}
		}
		if err == io.EOF { // the job has ended, and this was all
			return jobs.GetJob(ctx, &qzo.GetJobRequest{Name: name})
		}
		if status.Code(err) != codes.Unavailable || time.Since(heard) > patience {
			return nil, err
		}
		time.Sleep(time.Second)
	}
}

func run(ctx context.Context, model, train, test string, steps uint32) error {
	conn, err := dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	spec := &qzo.JobSpec{
		Task:   &qzo.Task{Kind: qzo.TaskKind_CLASSIFICATION, Prompt: "{text} It was", Options: []string{" sad", " fun"}},
		Method: &qzo.Method{Steps: &steps},
	}
	if spec.BaseModel, err = uploadModel(ctx, conn, model); err != nil {
		return err
	}
	if spec.TrainingDataset, err = uploadDataset(ctx, conn, train); err != nil {
		return err
	}
	if spec.TestDataset, err = uploadDataset(ctx, conn, test); err != nil {
		return err
	}
	jobs := qzo.NewJobServiceClient(conn)
	job, err := jobs.CreateJob(ctx, &qzo.CreateJobRequest{Parent: project, RequestId: requestID(), Job: &qzo.FineTuningJob{Spec: spec}})
	if err != nil {
		return err
	}
	fmt.Println(job.Name)
	if job, err = follow(ctx, jobs, job.Name); err != nil {
		return err
	}
	result := job.Progress.FinalTest
	fmt.Printf("%s: accuracy %.3f, loss %.4f, adapter %s\n", job.State, result.GetAccuracy(), result.GetLoss(), job.Adapter)
	if job.State != qzo.FineTuningJob_SUCCEEDED {
		return fmt.Errorf("%s: %s", job.Reason, job.Message)
	}
	return nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Fatal("usage: client MODEL.gguf TRAIN.jsonl TEST.jsonl STEPS")
	}
	steps, err := strconv.ParseUint(os.Args[4], 10, 32)
	if err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2], os.Args[3], uint32(steps)); err != nil {
		log.Fatalf("%v %s", err, reason(err))
	}
}
