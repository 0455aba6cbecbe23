-- ARGV: worker, conferences.
local answer = {}
for i = 2, #ARGV do answer[#answer + 1] = record(ARGV[i], ARGV[1]) end
return answer
