"""The wire protocol of visavis and the vocabulary that server and peer both rest on."""
