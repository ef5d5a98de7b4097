// Follows the feed on NATS, and continues where it stopped: go run resume.go SERVER STATE_FILE [KEY_FILE [TIME]]
//
// At the first start, it prints the newest record of each pair, and then all records that follow. After a restart, it
// continues after the last record that it printed. With TIME, such as 2026-11-21T00:00:00Z, the first start begins with the
// first record that was stored at or after that time. Needs the module github.com/nats-io/nats.go.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
)

const stream, subjects = "TICKS", "ticks.>"

// How long a time without a record means that something is wrong. Every slot has a record, and there is a slot every
// 10 s by default. A few slots may pass until another poller or NATS server takes over.
const silence = 30 * time.Second

// The stream's creation time and the position of the last record.
type state struct {
	created  string
	sequence uint64
}

// Returns nil at the first start.
func load(path string) (*state, error) {
	bytes, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found state
	return &found, json.Unmarshal(bytes, &[]any{&found.created, &found.sequence})
}

func save(path string, now state) error {
	bytes, err := json.Marshal([]any{now.created, now.sequence})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", bytes, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// A record, as far as this program needs it.
type record struct {
	Version int    `json:"version"`
	Kind    string `json:"kind"`
	Pair    string `json:"pair"`
	// Only a tick has a price.
	Price *string `json:"price"`
}

// Prints records until something fails.
func follow(connection *nats.Conn, stateFile string, first *time.Time) error {
	answer, err := connection.Request("$JS.API.STREAM.INFO."+stream, nil, 5*time.Second)
	if err != nil {
		return err
	}
	var info struct {
		Created string `json:"created"`
	}
	if err := json.Unmarshal(answer.Data, &info); err != nil || info.Created == "" {
		return fmt.Errorf("there is no stream %s: %s", stream, answer.Data)
	}
	last, err := load(stateFile)
	if err != nil {
		return err
	}
	config := nats.ConsumerConfig{
		DeliverPolicy: nats.DeliverLastPerSubjectPolicy,
		AckPolicy:     nats.AckNonePolicy,
		FilterSubject: subjects,
	}
	if last != nil && last.created == info.Created {
		config.DeliverPolicy, config.OptStartSeq = nats.DeliverByStartSequencePolicy, last.sequence+1
	} else if last == nil && first != nil {
		config.DeliverPolicy, config.OptStartTime = nats.DeliverByStartTimePolicy, first
	} else if last != nil {
		log.Print("the log was replaced; starting with the newest records")
	}
	feed, err := connection.JetStream()
	if err != nil {
		return err
	}
	consumer, err := feed.AddConsumer(stream, &config)
	if err != nil {
		return err
	}
	records, err := feed.PullSubscribe(subjects, "", nats.Bind(stream, consumer.Name))
	if err != nil {
		return err
	}
	defer records.Unsubscribe()
	batch := uint64(1)
	for delivered := uint64(0); ; {
		// This waits until it has the whole batch. It fails if no record arrives in time, also if the consumer no longer
		// exists.
		messages, err := records.Fetch(int(batch), nats.MaxWait(silence))
		if err != nil {
			return fmt.Errorf("no record for %v: %w", silence, err)
		}
		for _, message := range messages {
			position, err := message.Metadata()
			if err != nil {
				return err
			}
			// The server counts what it delivers. If the count is not the next number, the connection was lost or the
			// server was restarted on the way, so begin again after the last record that was printed.
			delivered++
			// Do not wait for more records than the server already has.
			if batch = position.NumPending; batch < 1 {
				batch = 1
			} else if batch > 100 {
				batch = 100
			}
			if position.Sequence.Consumer != delivered {
				return errors.New("records were lost or repeated on the way")
			}
			var read record
			if err := json.Unmarshal(message.Data, &read); err != nil {
				return err
			}
			if read.Version > 2 {
				log.Fatal("a record has a format that this program does not know; upgrade this program")
			}
			// The newest record of a pair may also be a gap (no price) or a lead (another poller took over).
			price := "-"
			if read.Price != nil {
				price = *read.Price
			}
			fmt.Println(position.Sequence.Stream, read.Kind, read.Pair, price)
			if err := save(stateFile, state{info.Created, position.Sequence.Stream}); err != nil {
				return err
			}
		}
	}
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: go run resume.go SERVER STATE_FILE [KEY_FILE [TIME]]")
	}
	options := []nats.Option{nats.MaxReconnects(-1)}
	if len(os.Args) > 3 {
		key, err := nats.NkeyOptionFromSeed(os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		options = append(options, key)
	}
	var first *time.Time
	if len(os.Args) > 4 {
		parsed, err := time.Parse(time.RFC3339, os.Args[4])
		if err != nil {
			log.Fatal(err)
		}
		first = &parsed
	}
	connection, err := nats.Connect(os.Args[1], options...)
	if err != nil {
		log.Fatal(err)
	}
	for {
		log.Printf("%v; retrying", follow(connection, os.Args[2], first))
		time.Sleep(time.Second)
	}
}
