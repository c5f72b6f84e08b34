// Submits a command, watches it, reads what it prints, and cancels another one.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	nodelink "example.org/nodelink/v1" // made by protoc from the folder `protos` of the repository
)

func submit(ctx context.Context, tasks nodelink.TaskServiceClient, command string) string {
	payload, _ := json.Marshal(map[string]string{"command": command})
	spec := &nodelink.TaskSpec{Type: "shell", Payload: payload}
	answer, err := tasks.SubmitTask(ctx, &nodelink.SubmitTaskRequest{Spec: spec})
	if err != nil {
		log.Fatal(err)
	}
	return answer.Task.Id
}

// Tells every event of a task until it is completed.
func watch(ctx context.Context, tasks nodelink.TaskServiceClient, taskID string) {
	events, err := tasks.WatchTasks(ctx, &nodelink.WatchTasksRequest{TaskId: taskID})
	for err == nil {
		var frame *nodelink.WatchTasksResponse
		if frame, err = events.Recv(); err != nil {
			break
		}
		for _, event := range frame.Events {
			fmt.Println(event.Name)
			if event.Status == nodelink.TaskStatus_TASK_STATUS_COMPLETED {
				return
			}
		}
	}
	log.Fatal(err)
}

func readLogs(ctx context.Context, tasks nodelink.TaskServiceClient, taskID string) {
	pages, err := tasks.ReadTaskLogs(ctx, &nodelink.ReadTaskLogsRequest{TaskId: taskID, Follow: true})
	for err == nil {
		var page *nodelink.ReadTaskLogsResponse
		if page, err = pages.Recv(); err != nil {
			break
		}
		for _, part := range page.Parts {
			os.Stdout.Write(part.Data)
		}
	}
	if err != io.EOF {
		log.Fatal(err)
	}
}

func main() {
	server := os.Getenv("NODELINK_SERVER")
	if server == "" {
		server = "127.0.0.1:50051"
	}
	connection, err := grpc.Dial(server, grpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	tasks := nodelink.NewTaskServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	counting := submit(ctx, tasks, "for i in 1 2 3; do echo line $i; sleep 0.2; done")
	watch(ctx, tasks, counting)
	readLogs(ctx, tasks, counting)

	sleeping := submit(ctx, tasks, "sleep 600")
	tasks.CancelTask(ctx, &nodelink.CancelTaskRequest{TaskId: sleeping, Reason: "not needed any more"})
	ended, err := tasks.WaitTask(ctx, &nodelink.WaitTaskRequest{TaskId: sleeping})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ended.Task.Status, ended.Task.Reason)

	_, err = tasks.GetTask(ctx, &nodelink.GetTaskRequest{TaskId: "no such task"})
	for _, detail := range status.Convert(err).Details() {
		if told, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Println(told.Reason, status.Convert(err).Message())
		}
	}
}
