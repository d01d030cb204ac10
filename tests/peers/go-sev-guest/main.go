// SPDX-License-Identifier: MIT

// A certificate table, and a report with it, as Google's go-sev-guest takes them:
//
//	sev-table TABLE           what is in it: a line an entry, "GUID BYTES COMMON-NAME"
//	sev-table TABLE REPORT    and the report is verified with these certificates, and with no others
package main

import (
	"crypto/x509"
	"fmt"
	"log"
	"os"

	"github.com/google/go-sev-guest/abi"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/verify"
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
	data := read(os.Args[1])
	table := new(abi.CertTable)
	if err := table.Unmarshal(data); err != nil {
		log.Fatal(err)
	}
	for _, entry := range table.Entries {
		certificate, err := x509.ParseCertificate(entry.RawCert)
		if err != nil {
			log.Fatalf("%v: %v", entry.GUID, err)
		}
		fmt.Println(entry.GUID, len(entry.RawCert), certificate.Subject.CommonName)
	}
	if len(os.Args) < 3 {
		return
	}
	attestation, err := abi.ReportCertsToProto(append(read(os.Args[2]), data...))
	if err != nil {
		log.Fatal(err)
	}
	options := verify.DefaultOptions()
	options.DisableCertFetching = true
	// A report of version 2 does not say which product it is of; "Milan-B0" is what the VCEK says.
	options.Product = &spb.SevProduct{Name: spb.SevProduct_SEV_PRODUCT_MILAN}
	if err := verify.SnpAttestation(attestation, options); err != nil {
		log.Fatal(err)
	}
	fmt.Println("verified")
}
