package confctl

import "confgate/internal/rawjson"

// AppendSubscribe appends a Subscribe request (chapter 6.1.3.2) for the named notify types. Its data is a string that
// holds JSON, as in every sample, without the conferenceID that the table demands and no sample has. sequence is echoed
// by the answer.
func AppendSubscribe(dst []byte, sequence string, types []string, token Secret) []byte {
	data := []byte(`{"subscribeType":[`)
	for i, t := range types {
		if i > 0 {
			data = append(data, ',')
		}
		data = rawjson.AppendString(data, t)
	}
	data = append(data, `],"confToken":`...)
	data = rawjson.AppendString(data, token.Reveal())
	data = append(data, '}')

	dst = append(dst, `{"sequence":`...)
	dst = rawjson.AppendString(dst, sequence)
	dst = append(dst, `,"action":"Subscribe","data":`...)
	dst = rawjson.AppendString(dst, data)
	return append(dst, '}')
}

// AppendHeartBeat appends a HeartBeat request (chapter 6.1.3.11).
func AppendHeartBeat(dst []byte, sequence string) []byte {
	dst = append(dst, `{"sequence":`...)
	dst = rawjson.AppendString(dst, sequence)
	return append(dst, `,"action":"HeartBeat"}`...)
}
