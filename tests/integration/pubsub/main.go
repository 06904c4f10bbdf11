// Serves the Pub/Sub API on a port of 127.0.0.1 for tests: the protocol server of Google's own client library, whose state
// outlives what the tests do to the server. Takes commands on stdin, a line each, and answers each with a line on stdout:
//
//	stop                 close the port and all connections
//	start                open the same port again; messages and subscriptions are as they were
//	expire SUBSCRIPTION  end the leases of all messages, as time would
//	clock SECONDS        set the server's clock ahead of the machine's
//	fail METHOD CODE     answer calls of a method with a gRPC code until the code is OK (0)
//	messages             a JSON list of what was published, and how often it was delivered, extended and acknowledged
//
// Ends with stdin, so that it cannot outlive a test run that was killed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Pub/Sub takes messages of 10 MB; gRPC's own limit is 4 MB.
const largestRequest = 12 << 20

// failures holds the code that each method answers with.
type failures struct {
	mutex sync.Mutex
	codes map[string]codes.Code
}

func (f *failures) set(method string, code codes.Code) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.codes[method] = code
}

func (f *failures) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	f.mutex.Lock()
	code := f.codes[info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]]
	f.mutex.Unlock()
	if code != codes.OK {
		return nil, status.Error(code, "as the test asked")
	}
	return handle(ctx, request)
}

// serve opens the port; port 0 is any that is free.
func serve(state *pstest.Server, fail *failures, address string) (*grpc.Server, string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(largestRequest), grpc.UnaryInterceptor(fail.intercept))
	pb.RegisterPublisherServer(server, &state.GServer)
	pb.RegisterSubscriberServer(server, &state.GServer)
	go server.Serve(listener)
	return server, listener.Addr().String(), nil
}

// expire ends leases by the newest acknowledgement ID, which pstest makes of the message ID and the number of the delivery.
func expire(state *pstest.Server, subscription string) error {
	request := &pb.ModifyAckDeadlineRequest{Subscription: subscription}
	for _, message := range state.Messages() {
		request.AckIds = append(request.AckIds, fmt.Sprintf("%s:%d", message.ID, message.Deliveries))
	}
	_, err := state.GServer.ModifyAckDeadline(context.Background(), request)
	return err
}

type told struct {
	ID         string `json:"id"`
	Deliveries int    `json:"deliveries"`
	Extensions int    `json:"extensions"`
	Acks       int    `json:"acks"`
}

func messages(state *pstest.Server) string {
	all := []told{}
	for _, message := range state.Messages() {
		all = append(all, told{message.ID, message.Deliveries, len(message.Modacks), message.Acks})
	}
	text, _ := json.Marshal(all)
	return string(text)
}

func main() {
	state := pstest.NewServerWithAddress("127.0.0.1:0")
	fail := &failures{codes: map[string]codes.Code{}}
	server, address, err := serve(state, fail, "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(address)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := append(strings.Fields(lines.Text()), "", "", "")
		answer, err := "done", error(nil)
		switch words[0] {
		case "stop":
			server.Stop()
		case "start":
			server, _, err = serve(state, fail, address)
		case "expire":
			err = expire(state, words[1])
		case "clock":
			ahead, _ := strconv.Atoi(words[1])
			state.SetTimeNowFunc(func() time.Time { return time.Now().Add(time.Duration(ahead) * time.Second) })
		case "fail":
			code, _ := strconv.Atoi(words[2])
			fail.set(words[1], codes.Code(code))
		case "messages":
			answer = messages(state)
		default:
			err = fmt.Errorf("unknown command")
		}
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Println(answer)
	}
}
