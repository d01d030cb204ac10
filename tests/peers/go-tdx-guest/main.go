// SPDX-License-Identifier: MIT

// A quote as Google's go-tdx-guest takes it: "tdx-quote QUOTE TDREPORT" parses the quote, wants the TDREPORT's
// REPORTDATA in it, nothing behind its end, and the same bytes when it is written again.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"github.com/google/go-tdx-guest/abi"
	pb "github.com/google/go-tdx-guest/proto/tdx"
)

func read(path string) []byte {
	data, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	return data
}

func main() {
	log.SetFlags(0)
	data, report := read(os.Args[1]), read(os.Args[2])
	parsed, err := abi.QuoteToProto(data)
	if err != nil {
		log.Fatal(err)
	}
	quote := parsed.(*pb.QuoteV4)
	if len(quote.GetExtraBytes()) != 0 {
		log.Fatalf("%d bytes behind the quote's end", len(quote.GetExtraBytes()))
	}
	// REPORTDATA is at 128 of REPORTMACSTRUCT, which a TDREPORT begins with.
	if !bytes.Equal(quote.GetTdQuoteBody().GetReportData(), report[128:192]) {
		log.Fatal("the quote is about another TDREPORT")
	}
	again, err := abi.QuoteToAbiBytes(quote)
	if err != nil {
		log.Fatal(err)
	}
	if !bytes.Equal(again, data) {
		log.Fatal("written again it is another quote")
	}
	fmt.Println("version", quote.GetHeader().GetVersion(), "bytes", len(data))
}
